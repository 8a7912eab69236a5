"""The settings of the embedded stack: ports, directory, and Stripe or the sandbox."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from devstack.ports import LOOPBACK, free_ports, is_free
from devstack.process import StackError

PORTS = (
    "API_PORT",
    "TEMPORAL_PORT",
    "TEMPORAL_UI_PORT",
    "MONGODB_PORT",
    "STRIPE_SANDBOX_PORT",
    "API_METRICS_PORT",
    "WORKER_METRICS_PORT",
)


@dataclass(frozen=True)
class ProcessCounts:
    """How many processes of each kind run, for the kinds that can be several."""

    mongodb: int = 1
    """Members of the replica set."""
    api: int = 1
    workers: int = 1


class StackSettings(BaseSettings):
    """A field's name in capitals is its environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    api_port: int = Field(default=8000, ge=1, le=65535)
    temporal_port: int = Field(default=7233, ge=1, le=65535)
    temporal_ui_port: int = Field(default=8233, ge=1, le=65535)
    mongodb_port: int = Field(default=27017, ge=1, le=65535)
    stripe_sandbox_port: int = Field(default=12111, ge=1, le=65535)
    api_metrics_port: int = Field(default=9464, ge=1, le=65535)
    worker_metrics_port: int = Field(default=9465, ge=1, le=65535)
    stack_dir: Path = Path(".stack")
    """Keeps all data between runs."""
    stripe_api_key: SecretStr | None = None
    """If set, Stripe itself is used, and no sandbox is started."""

    # Private, so that no environment variable sets them: `make run` has one process of each kind.
    _more_api_ports: tuple[int, ...] = PrivateAttr(())
    _more_mongodb_ports: tuple[int, ...] = PrivateAttr(())
    _more_api_metrics_ports: tuple[int, ...] = PrivateAttr(())
    _more_worker_metrics_ports: tuple[int, ...] = PrivateAttr(())

    @classmethod
    def on_free_ports(
        cls, stack_dir: Path, process_counts: ProcessCounts = ProcessCounts()
    ) -> Self:
        """Settings for tests: free ports, so that stacks can run side by side, and the sandbox."""
        more = (
            2 * (process_counts.api - 1) + process_counts.mongodb - 1 + process_counts.workers - 1
        )
        ports = iter(free_ports(len(PORTS) + more))
        named: dict[str, Any] = {name.lower(): next(ports) for name in PORTS}
        settings = cls(stack_dir=stack_dir, stripe_api_key=None, **named)
        settings._more_api_ports = tuple(islice(ports, process_counts.api - 1))
        settings._more_api_metrics_ports = tuple(islice(ports, process_counts.api - 1))
        settings._more_worker_metrics_ports = tuple(islice(ports, process_counts.workers - 1))
        settings._more_mongodb_ports = tuple(ports)
        return settings

    @property
    def process_counts(self) -> ProcessCounts:
        return ProcessCounts(
            len(self.mongodb_ports), len(self.api_ports), len(self.worker_metrics_ports)
        )

    @property
    def api_ports(self) -> tuple[int, ...]:
        """A port for each API process; the first is `api_port`."""
        return (self.api_port, *self._more_api_ports)

    @property
    def mongodb_ports(self) -> tuple[int, ...]:
        """A port for each member of the replica set; the first is `mongodb_port`."""
        return (self.mongodb_port, *self._more_mongodb_ports)

    @property
    def api_metrics_ports(self) -> tuple[int, ...]:
        """Where each API process serves its metrics; the first is `api_metrics_port`."""
        return (self.api_metrics_port, *self._more_api_metrics_ports)

    @property
    def worker_metrics_ports(self) -> tuple[int, ...]:
        """Where each worker serves its metrics; the first is `worker_metrics_port`."""
        return (self.worker_metrics_port, *self._more_worker_metrics_ports)

    @property
    def uses_sandbox(self) -> bool:
        return self.stripe_api_key is None

    @property
    def temporal_address(self) -> str:
        return f"{LOOPBACK}:{self.temporal_port}"

    @property
    def ports(self) -> dict[str, int]:
        """The ports that the stack listens on, by the name of their setting."""
        ports = {name: int(getattr(self, name.lower())) for name in PORTS}
        if not self.uses_sandbox:
            del ports["STRIPE_SANDBOX_PORT"]
        for name, more in (
            ("API_PORT", self._more_api_ports),
            ("MONGODB_PORT", self._more_mongodb_ports),
            ("API_METRICS_PORT", self._more_api_metrics_ports),
            ("WORKER_METRICS_PORT", self._more_worker_metrics_ports),
        ):
            ports |= {f"{name}_{number}": port for number, port in enumerate(more, start=2)}
        return ports

    @property
    def api_urls(self) -> list[str]:
        """Where each API process answers."""
        return [f"http://{LOOPBACK}:{port}" for port in self.api_ports]

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each part; of several API processes, the first."""
        urls = {
            "api": self.api_urls[0],
            "temporal_ui": f"http://{LOOPBACK}:{self.temporal_ui_port}",
            "api_metrics": f"http://{LOOPBACK}:{self.api_metrics_port}/metrics",
            "worker_metrics": f"http://{LOOPBACK}:{self.worker_metrics_port}/metrics",
        }
        if self.uses_sandbox:
            urls["stripe_sandbox"] = f"http://{LOOPBACK}:{self.stripe_sandbox_port}"
        return urls


def read_stack_settings() -> StackSettings:
    """Read them from the environment.

    Raises:
        StackError: it names every invalid setting.
    """
    try:
        return StackSettings()
    except ValidationError as error:
        problems = [f"{str(p['loc'][0]).upper()}: {p['msg']}" for p in error.errors()]
        raise StackError("; ".join(problems)) from None


def check_ports(settings: StackSettings) -> None:
    """Check that every port is free.

    Raises:
        StackError: it names each port that is taken, and its setting.
    """
    owners: dict[int, str] = {}
    problems: dict[str, str] = {}
    for name, port in settings.ports.items():
        if port in owners:
            problems[name] = f"{name} and {owners[port]} are both {port}"
        elif not is_free(port):
            problems[name] = f"{name}={port} is taken by another program"
        owners.setdefault(port, name)
    if problems:
        others = zip(problems, free_ports(len(problems)), strict=True)
        example = " ".join(f"{name}={port}" for name, port in others)
        raise StackError(
            "\n".join(problems.values()) + f"\nChoose another port, for example: {example} make run"
        )
