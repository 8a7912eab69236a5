"""`make` explains itself, and what it cannot do."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.compose import REPOSITORY

TARGETS = {
    "help",
    "install",
    "run",
    "demo",
    "browser",
    "test",
    "test-all",
    "faults",
    "faults-control",
    "upgrade",
    "properties",
    "fuzz",
    "bench",
    "compare",
    "screenshots",
    "operations-pictures",
    "lint",
    "record-histories",
    "format",
    "lock",
    "image",
    "clean",
}


def _make(
    *arguments: str, cwd: Path = REPOSITORY, first_on_path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    # Without what an outer `make test` hands on: its flags are not ours.
    environ = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    if first_on_path is not None:
        environ["PATH"] = f"{first_on_path}{os.pathsep}{environ['PATH']}"
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_every_target_is_listed() -> None:
    listed = re.findall(r"^  make ([\w-]+) +\S", _make().stdout, re.MULTILINE)
    assert set(listed) == TARGETS
    makefile = (REPOSITORY / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: ((?:.+\\\n)*.+)$", makefile, re.MULTILINE)
    assert set(" ".join(phony).replace("\\", "").split()) == TARGETS


def test_ci_runs_targets_that_exist() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    assert set(re.findall(r"^make ([\w-]+)", script, re.MULTILINE)) == {"lint", "test-all"}


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A checkout in which nothing is installed."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    return tmp_path


def _program(directory: Path, script: str, name: str = "python") -> Path:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_an_old_python_is_named(fresh: Path) -> None:
    old = _program(fresh, '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    result = _make(f"PYTHON={old}", "test", cwd=fresh)
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stderr
    assert "Python 3.9.2" in result.stderr
    assert not (fresh / ".venv").exists()


def test_a_python_without_venv_is_told_what_to_install(fresh: Path) -> None:
    bare = _program(fresh, 'case "$2" in *ensurepip*) exit 1;; esac')
    result = _make(f"PYTHON={bare}", "run", cwd=fresh)
    assert result.returncode != 0
    assert "apt-get install python3-venv" in result.stderr


def test_a_browser_that_is_named_is_enough(fresh: Path) -> None:
    browser = _program(fresh, "exit 0", "my-browser")
    result = _make("browser", f"CHROMIUM={browser}", cwd=fresh)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_where_no_browser_can_be_installed_one_has_to_be_named(fresh: Path) -> None:
    _program(fresh, 'exec "$@"', "sudo")
    _program(fresh, "exit 100", "apt-get")
    result = _make("browser", "CHROMIUM=no-such-browser", cwd=fresh, first_on_path=fresh)
    assert result.returncode != 0
    assert "CHROMIUM=/path/to/chromium" in result.stderr
