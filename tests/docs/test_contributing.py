"""What CONTRIBUTING.md shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.process import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()


@pytest.mark.long
def test_the_time_skipping_test_passes(tmp_path: Path) -> None:
    (shown,) = re.findall(r"<!-- time-skipping test -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    example = tmp_path / "test_example.py"
    example.write_text(shown)
    fixtures = ["-p", "tests.conftest", "-p", "tests.workflows.conftest"]
    where = [f"--rootdir={REPOSITORY}", "-c", str(REPOSITORY / "pyproject.toml")]

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *where, *fixtures, example],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in run.stdout, run.stdout + run.stderr


def test_every_file_that_it_names_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)+[\w.]*)`", TEXT))

    assert named
    assert {name for name in named if not (REPOSITORY / name).exists()} == set()


def test_what_the_first_change_changes_is_there() -> None:
    words = (REPOSITORY / "api" / "orders" / "timeline_messages.py").read_text()

    assert "CANCELLATION_MESSAGES" in words
    assert "The marketplace cancelled the order." in words
