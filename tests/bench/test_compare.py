"""Comparing two revisions: what is checked out, and which figures have a target."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import revisions
from bench.compare import Measurement, rows_of
from bench.revisions import check_out
from bench.timing import Timings
from devstack.process import StackError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two revisions of one file."""
    directory = tmp_path / "repository"
    directory.mkdir()
    monkeypatch.setattr(revisions, "REPOSITORY", directory)
    _git(directory, "init", "--quiet")
    (directory / "requirements.lock").write_text("httpx==1\n")
    for version in ("old", "new"):
        (directory / "worker.py").write_text(version)
        _git(directory, "add", ".")
        author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        _git(directory, *author, "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", version)
    return directory


def _git(directory: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=directory, check=True)


def test_a_checkout_has_what_was_committed_and_no_later_change(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "worker.py").write_text("not committed")
    before = check_out("HEAD~1", tmp_path / "before" / "code")
    after = check_out("HEAD", tmp_path / "after" / "code")
    assert (before.directory / "worker.py").read_text() == "old"
    assert (after.directory / "worker.py").read_text() == "new"
    assert before.label.startswith("HEAD~1 (")
    assert before.python == after.python == sys.executable
    assert revisions.has_uncommitted_changes()


def test_an_unknown_revision_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no revision v99"):
        check_out("v99", tmp_path / "before" / "code")


@pytest.mark.parametrize(
    ("at_once", "with_target"),
    [
        (1, {"1 buyer: pay p50", "1 buyer: CPU per order"}),
        (8, {"8 buyers: CPU per order"}),
        (32, {"32 buyers: orders/s", "32 buyers: CPU per order"}),
    ],
)
def test_the_later_revision_is_compared_with_the_earlier(
    at_once: int, with_target: set[str]
) -> None:
    old = Measurement(Timings([0.2], [0.4], 2.0), {"api": 20.0, "worker": 80.0})
    new = Measurement(Timings([0.2], [0.1], 1.0), {"api": 20.0, "worker": 40.0})
    rows = {row.name: row for row in rows_of(at_once, [(old, new)])}
    assert {name for name, row in rows.items() if row.target} == with_target
    assert all(row.is_ok for row in rows.values() if row.target)
    ratios = {name: row.ratio.median for name, row in rows.items() if row.ratio}
    assert [ratio for name, ratio in ratios.items() if name.endswith("orders/s")] == [2.0]
    assert [ratio for name, ratio in ratios.items() if name.endswith("per order")] == [0.6]
