"""What of the embedded stack can be set: its ports, its directory, and whose Stripe it uses."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from devstack.ports import LOOPBACK, free_ports, is_free
from devstack.process import StackError

PORTS = ("API_PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT", "MONGODB_PORT", "STRIPE_SANDBOX_PORT")


class StackSettings(BaseSettings):
    """A field's name in capitals is its environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    api_port: int = Field(default=8000, ge=1, le=65535)
    temporal_port: int = Field(default=7233, ge=1, le=65535)
    temporal_ui_port: int = Field(default=8233, ge=1, le=65535)
    mongodb_port: int = Field(default=27017, ge=1, le=65535)
    stripe_sandbox_port: int = Field(default=12111, ge=1, le=65535)
    stack_dir: Path = Path(".stack")
    """Holds everything that outlives a stop."""
    stripe_api_key: SecretStr | None = None
    """Set: real Stripe is used, and no sandbox is started."""

    @classmethod
    def on_free_ports(cls, stack_dir: Path) -> Self:
        """Settings for a stack beside others, with the sandbox, as tests want it."""
        ports = [int(port) for port in free_ports(len(PORTS))]
        named = dict(zip((name.lower() for name in PORTS), ports, strict=True))
        return cls(stack_dir=stack_dir, stripe_api_key=None, **named)  # type: ignore[arg-type]

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
        return ports

    @property
    def urls(self) -> dict[str, str]:
        """Where a browser finds each part."""
        urls = {
            "api": f"http://{LOOPBACK}:{self.api_port}",
            "temporal_ui": f"http://{LOOPBACK}:{self.temporal_ui_port}",
        }
        if self.uses_sandbox:
            urls["stripe_sandbox"] = f"http://{LOOPBACK}:{self.stripe_sandbox_port}"
        return urls


def read_stack_settings() -> StackSettings:
    """Read them from the environment.

    Raises:
        StackError: naming every setting that is wrong.
    """
    try:
        return StackSettings()
    except ValidationError as error:
        problems = [f"{str(p['loc'][0]).upper()}: {p['msg']}" for p in error.errors()]
        raise StackError("; ".join(problems)) from None


def check_ports(settings: StackSettings) -> None:
    """Make sure that every port is there to listen on.

    Raises:
        StackError: naming each port that is not, and its setting.
    """
    holder: dict[int, str] = {}
    problems: dict[str, str] = {}
    for name, port in settings.ports.items():
        if port in holder:
            problems[name] = f"{name} and {holder[port]} are both {port}"
        elif not is_free(port):
            problems[name] = f"{name}={port} is taken by another program"
        holder.setdefault(port, name)
    if problems:
        others = zip(problems, free_ports(len(problems)), strict=True)
        example = " ".join(f"{name}={port}" for name, port in others)
        raise StackError(
            "\n".join(problems.values()) + f"\nChoose another port, for example: {example} make run"
        )
