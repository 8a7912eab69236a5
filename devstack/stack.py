"""The whole system on one machine, in real processes: for `make run` and end-to-end tests."""

import fcntl
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import httpx

from devstack.environment import app_environment, check_app_settings
from devstack.mongodb import find_primary, mongodb_part
from devstack.ports import LOOPBACK, is_listening
from devstack.process import REPOSITORY, OnLine, Part, StackError
from devstack.settings import StackSettings, check_ports
from devstack.temporal import is_polled_by, temporal_part
from ticketing.payments.webhooks import ENABLED_EVENTS

START_ORDER = (("mongodb", "temporal", "stripe"), ("worker", "api"))
"""Each group of kinds is started when the one before is ready."""
STOP_ORDER = (("api",), ("worker",), ("mongodb", "temporal", "stripe"))
"""Requests in flight still need the worker, and its activities still need the servers."""


class Stack:
    """MongoDB, Temporal, the Stripe sandbox, the worker and the API.

    A part is named after its kind (`worker`), and numbered if there are several of the kind
    (`worker-1`, `worker-2`). Servers start first and stop last.
    All data are in one directory: a stack started on it again resumes its open orders.
    Start it from a thread that lives as long as it does (see `devstack/die_with_parent.py`).
    """

    def __init__(
        self,
        settings: StackSettings,
        environ: Mapping[str, str] = os.environ,
        on_line: OnLine | None = None,
    ) -> None:
        self.settings = settings
        self.urls = settings.urls
        self.api_urls = settings.api_urls
        self._directory = settings.stack_dir.resolve()
        self._user_environment = environ
        self.environment: Mapping[str, str] = {}
        self._on_line = on_line
        self._lock: IO[str] | None = None
        self.parts: dict[str, Part] = {}

    def __enter__(self) -> "Stack":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every part, and wait until all are ready.

        Raises:
            StackError: a port is taken, the directory is in use, a setting is wrong, or a part
                did not come up.
        """
        self._lock_directory()
        check_ports(self.settings)
        self.environment = app_environment(self.settings, self._user_environment)
        check_app_settings(self.environment)
        self.parts = self._make_parts()
        for group in START_ORDER:
            self.start_parts(*(part.name for part in self._parts_of_kinds(group)))

    def start_part(self, name: str) -> None:
        """Start one part that was stopped or killed, and wait until it is ready."""
        self.start_parts(name)

    def start_parts(self, *names: str) -> None:
        """Start parts that are ready only together, such as a majority of the replica set."""
        parts = [self.parts[name] for name in names]
        for part in parts:
            part.start()
        for part in parts:
            part.wait_until_ready()

    def stop_part(self, name: str) -> None:
        """Stop one part gracefully."""
        self.parts[name].stop()

    def kill(self, name: str) -> None:
        """End one part with SIGKILL."""
        self.parts[name].kill()

    def freeze(self, name: str) -> None:
        """Suspend one part; its connections stay open."""
        self.parts[name].freeze()

    def thaw(self, name: str) -> None:
        """Resume a frozen part."""
        self.parts[name].thaw()

    def primary(self) -> str | None:
        """The name of MongoDB's current primary; None while there is none."""
        ports = self.settings.mongodb_ports
        port = find_primary(ports)
        return None if port is None else _names("mongodb", len(ports))[ports.index(port)]

    def stop(self) -> None:
        """Stop every part; frozen ones are resumed first, since others may wait for them."""
        for part in self.parts.values():
            part.thaw()
        for group in STOP_ORDER:
            parts = self._parts_of_kinds(group)
            for part in parts:
                part.ask_to_stop()
            for part in parts:
                part.stop()
        if self._lock:
            self._lock.close()
            self._lock = None

    def ended_parts(self) -> list[Part]:
        """Parts that do not run."""
        return [part for part in self.parts.values() if not part.is_running]

    def _make_parts(self) -> dict[str, Part]:
        parts = [*self._mongodb_parts(), self._temporal_part()]
        if self.settings.uses_sandbox:
            parts.append(self._sandbox_part())
        parts += self._worker_parts()
        parts += self._api_parts()
        return {part.name: part for part in parts}

    def _mongodb_parts(self) -> list[Part]:
        ports = self.settings.mongodb_ports
        return [
            mongodb_part(self._directory / name, port, self._log(name), name, ports)
            for name, port in zip(_names("mongodb", len(ports)), ports, strict=True)
        ]

    def _temporal_part(self) -> Part:
        return temporal_part(
            self._directory / "temporal.db",
            self.settings.temporal_port,
            self._log("temporal"),
            ui_port=self.settings.temporal_ui_port,
        )

    def _sandbox_part(self) -> Part:
        port = str(self.settings.stripe_sandbox_port)
        database = str(self._directory / "stripe.db")
        command = [sys.executable, "-m", "stripe_sandbox", "--host", LOOPBACK]
        command += ["--port", port, "--database", database, "--merchant", "Holdfast"]
        for url in self.api_urls:
            command += ["--webhook-url", f"{url}/api/webhooks/stripe"]
        for type in sorted(ENABLED_EVENTS):
            command += ["--enabled-event", type]
        return Part(
            name="stripe",
            command=command,
            log=self._log("stripe"),
            is_ready=lambda: _answers(self.settings.stripe_sandbox_port, "/healthz"),
            environ=self.environment,
            cwd=REPOSITORY,
        )

    def _worker_parts(self) -> list[Part]:
        ports = self.settings.worker_metrics_ports
        names = _names("worker", len(ports))
        return [self._worker_part(name, port) for name, port in zip(names, ports, strict=True)]

    def _worker_part(self, name: str, metrics_port: int) -> Part:
        part = Part(
            name=name,
            command=[sys.executable, "worker.py"],
            log=self._log(name),
            is_ready=lambda: is_polled_by(
                self.settings.temporal_address, self.environment["TASK_QUEUE"], part.pid
            ),
            environ={**self.environment, "METRICS_ADDRESS": f"{LOOPBACK}:{metrics_port}"},
            cwd=REPOSITORY,
            on_line=self._on_line,
        )
        return part

    def _api_parts(self) -> list[Part]:
        ports, metrics_ports = self.settings.api_ports, self.settings.api_metrics_ports
        each = zip(_names("api", len(ports)), ports, metrics_ports, strict=True)
        return [self._api_part(*part) for part in each]

    def _api_part(self, name: str, port: int, metrics_port: int) -> Part:
        return Part(
            name=name,
            command=[sys.executable, "-m", "api"],
            log=self._log(name),
            is_ready=lambda: _answers(port, "/readyz"),
            environ={
                **self.environment,
                "API_PORT": str(port),
                "METRICS_ADDRESS": f"{LOOPBACK}:{metrics_port}",
            },
            cwd=REPOSITORY,
            on_line=self._on_line,
        )

    def _log(self, name: str) -> Path:
        return self._directory / "logs" / f"{name}.log"

    def _parts_of_kinds(self, kinds: tuple[str, ...]) -> list[Part]:
        return [part for part in self.parts.values() if part.name.partition("-")[0] in kinds]

    def _lock_directory(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = (self._directory / "lock").open("w")
        except OSError as error:
            raise StackError(f"STACK_DIR={self._directory}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StackError(
                f"Holdfast is running already: STACK_DIR={self._directory} is in use"
            ) from None
        self._lock = lock


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}-{number}" for number in range(1, count + 1)]


def _answers(port: int, path: str) -> bool:
    if not is_listening(port):
        return False
    try:
        response = httpx.get(f"http://{LOOPBACK}:{port}{path}", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return response.is_success
