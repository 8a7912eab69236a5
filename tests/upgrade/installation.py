"""A revision of the code, checked out, and the stack of a checkout as a process of its own."""

import filecmp
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.process import REPOSITORY, StackError
from devstack.settings import StackSettings
from tests.devstack.processes import children, is_alive
from tests.devstack.waiting import eventually

LOCK = "requirements.lock"
IS_UP = "Holdfast is up"
START_SECONDS = 120.0
STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Installation:
    """A directory with the code of one revision, and the Python that has what it needs."""

    directory: Path
    python: Path
    name: str


WORKING_TREE = Installation(REPOSITORY, Path(sys.executable), "the working tree")


def check_out(revision: str, directory: Path) -> Installation:
    """Put the revision's files into the directory, without touching the repository's own.

    It runs in this environment if it pins the same packages, and else gets one of its own.

    Raises:
        StackError: there is no such revision, or its packages cannot be installed.
    """
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
    if not commit:
        raise StackError(f"REV={revision} is no revision of this repository")
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", directory], input=_git("archive", commit), check=True)
    python = Path(sys.executable)
    if not filecmp.cmp(REPOSITORY / LOCK, directory / LOCK, shallow=False):
        python = directory / ".venv" / "bin" / "python"
        if subprocess.run(["make", "install"], cwd=directory, check=False).returncode:
            raise StackError(f"the packages of {commit[:12]} cannot be installed")
    return Installation(directory, python, commit[:12])


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, check=False).stdout


@dataclass
class RunningStack:
    """`make run` of an installation."""

    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        if code := self.process.wait(STOP_SECONDS):
            raise StackError(f"the stack ended with exit code {code}")

    def kill(self) -> None:
        """End all of its processes with SIGKILL, at once."""
        parts = children(self.process.pid)
        self.process.kill()
        self.process.wait()
        eventually(lambda: not any(is_alive(pid) for pid in parts))


@contextmanager
def running(
    installation: Installation, settings: StackSettings, rules: Mapping[str, str], log: Path
) -> Iterator[RunningStack]:
    """Run the stack of the installation; what the block leaves of it is killed.

    Raises:
        StackError: it did not come up.
    """
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    environ |= {**rules, **{name: str(port) for name, port in settings.ports.items()}}
    environ["STACK_DIR"] = str(settings.stack_dir)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [installation.python, "-m", "devstack"],
            cwd=installation.directory,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    stack = RunningStack(process)
    try:
        _wait_until_up(process, installation, log)
        yield stack
    finally:
        if process.poll() is None:
            stack.kill()


def _wait_until_up(process: subprocess.Popen[bytes], of: Installation, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while IS_UP not in (said := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StackError(f"the stack of {of.name} does not start:\n{said}")
        time.sleep(0.1)
