"""The stack of a revision: started from a clean checkout, driven only over HTTP.

Nothing here depends on what the revision looks like inside, so that old ones can be measured.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.client import HttpClient, http_client
from bench.usage import CpuTimes, measured_cpu_times
from devstack.ports import is_listening
from devstack.process import REPOSITORY, Part, StackError
from devstack.settings import StackSettings
from devstack.temporal import is_polled_by

START_TIMEOUT = 120.0
STOP_TIMEOUT = 60.0
PASSWORD = "correct horse battery"
QUEUE = "orders"
LOCK_FILE = "requirements.lock"

SERVERS = {"worker.py": "worker", "api": "api", "mongod": "mongodb", "temporal": "temporal"}
"""The servers that are counted, by a word of their command line; the sandbox is not."""


@dataclass(frozen=True)
class Checkout:
    """The files of a revision, and the Python that runs them."""

    label: str
    directory: Path
    python: str


@dataclass
class RevisionStack:
    """The running stack of a revision, with a seller and buyers of its own."""

    checkout: Checkout
    settings: StackSettings
    processes: dict[str, psutil.Process]
    _tokens: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.settings.api_urls[0]

    def sign_up(self, count: int) -> None:
        """Sign up a seller and this many buyers."""
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as http:
            for number in range(count + 1):
                email = f"user{number}@example.com"
                user = {"email": email, "password": PASSWORD}
                http.post("/api/users/signup", json=user).raise_for_status()
                form = {"username": email, "password": PASSWORD, "grant_type": "password"}
                answer = http.post("/api/users/token", data=form).raise_for_status()
                self._tokens.append(answer.json()["access_token"])

    def list_tickets(self, count: int) -> list[str]:
        """Offer new tickets of the seller; their ids."""
        offer = {"title": "Amber Lanterns, Berlin, row 4", "price": 5000}
        headers = {"Authorization": f"Bearer {self._tokens[-1]}"}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=60, trust_env=False
        ) as seller:
            return [
                str(seller.post("/api/tickets", json=offer).raise_for_status().json()["id"])
                for _ in range(count)
            ]

    @asynccontextmanager
    async def signed_in_client(self, number: int = 0) -> AsyncIterator[HttpClient]:
        """A client with the session of a buyer."""
        headers = {"Authorization": f"Bearer {self._tokens[number]}"}
        async with http_client(self.url, headers) as client:
            yield client

    @contextmanager
    def cpu_times(self) -> Iterator[CpuTimes]:
        """The CPU time of each server during the block, filled in at its end."""
        with measured_cpu_times(self.processes) as times:
            yield times


def check_out(revision: str, directory: Path) -> Checkout:
    """Write the files of the revision into the directory, which is made for them.

    Raises:
        StackError: there is no such revision.
    """
    try:
        commit = _git("rev-parse", "--short", "--verify", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise StackError(f"git knows no revision {revision}") from None
    label = revision if revision.startswith(commit) else f"{revision} ({commit})"
    directory.mkdir(parents=True)
    archive = directory.with_suffix(".tar")
    _git("archive", "--format=tar", f"--output={archive}", commit)
    with tarfile.open(archive) as files:
        files.extractall(directory, filter="data")
    archive.unlink()
    return Checkout(label, directory, _python(label, directory))


def _python(label: str, directory: Path) -> str:
    """This environment's Python, or one with the packages of the revision if they are others."""
    if (directory / LOCK_FILE).read_bytes() == (REPOSITORY / LOCK_FILE).read_bytes():
        return sys.executable
    print(f"{label} has another {LOCK_FILE}: installing its packages …", flush=True)
    make = shutil.which("make") or "make"
    subprocess.run([make, "install", f"PYTHON={sys.executable}"], cwd=directory, check=True)
    return str(directory / ".venv" / "bin" / "python")


def has_uncommitted_changes() -> bool:
    """Whether the working tree differs from the revision that it is at."""
    return bool(_git("status", "--porcelain", "--untracked-files=no"))


def _git(*arguments: str) -> str:
    git = shutil.which("git") or "git"
    command = [git, "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def running_stack(checkout: Checkout, directory: Path) -> Iterator[RevisionStack]:
    """Run the stack of the checkout with its data in the directory during the block."""
    settings = StackSettings.on_free_ports(directory / "stack")
    part = Part(
        name=checkout.directory.name,
        command=[checkout.python, "-m", "devstack"],
        log=directory / "stack.log",
        is_ready=lambda: _is_ready(settings, part.pid),
        environ=_environ(settings),
        cwd=checkout.directory,
    )
    part.start()
    try:
        part.wait_until_ready(START_TIMEOUT)
        yield RevisionStack(checkout, settings, _servers(part.pid))
    finally:
        part.stop(STOP_TIMEOUT)


def _environ(settings: StackSettings) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    return {
        **ours,
        **{name: str(port) for name, port in settings.ports.items()},
        "STACK_DIR": str(settings.stack_dir),
        "TASK_QUEUE": QUEUE,
        "LOG_LEVEL": "WARNING",
        "RATE_LIMITS": "off",
        # A slow payment should be measured, not answered with "still processing".
        "PAYMENT_WAIT": "120",
    }


def _is_ready(settings: StackSettings, pid: int | None) -> bool:
    if not is_listening(settings.api_port):
        return False
    try:
        api = httpx.get(f"{settings.api_urls[0]}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    worker = _servers(pid).get("worker")
    return (
        api.is_success
        and worker is not None
        and is_polled_by(settings.temporal_address, QUEUE, worker.pid)
    )


def _servers(pid: int | None) -> dict[str, psutil.Process]:
    """The servers among the children of the process, by name."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True) if pid else []:
        words = {Path(word).name for word in process.cmdline()[:3]}
        for word in words & SERVERS.keys():
            found[SERVERS[word]] = process
    return found
