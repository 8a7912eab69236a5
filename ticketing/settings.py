"""Settings: read from the environment once, by a composition root, and frozen from then on.

Each process reads only what it uses, so the worker never sees the session keys and the API
never sees the key that moves money.
"""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic import model_validator as validator_of_model
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from temporalio.common import WorkerDeploymentVersion
from temporalio.envconfig import ClientConfigProfile

MINIMUM_JWT_KEY_LENGTH = 32
"""HS256 wants a key of at least 256 bits (RFC 7518, section 3.2)."""

MINIMUM_OPERATOR_TOKEN_LENGTH = 32
"""Nobody types it, and nobody limits how often it is guessed."""

STRIPE_API = "https://api.stripe.com"


class SettingsError(Exception):
    """A setting is missing or contradicts another; the message names each, never its value."""


def _from_seconds(value: object) -> object:
    """Read `900` as seconds; pydantic by itself reads only ISO 8601 (`PT15M`) from text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        if value.startswith("P"):
            return value
        raise ValueError("must be a number of seconds, or ISO 8601 such as PT15M") from None


Seconds = Annotated[timedelta, BeforeValidator(_from_seconds)]
"""A duration; in the environment a number of seconds, or ISO 8601."""


class _Group(BaseSettings):
    """Settings that belong together; a field's name in capitals is its environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)


class MongoDBSettings(_Group):
    model_config = SettingsConfigDict(env_prefix="MONGODB_")

    url: SecretStr
    """A `mongodb://` URL of a replica set: transactions need one. May carry a password."""
    database: str = "holdfast"

    @field_validator("url")
    @classmethod
    def _is_a_mongodb_url(cls, url: SecretStr) -> SecretStr:
        if urlsplit(url.get_secret_value()).scheme not in {"mongodb", "mongodb+srv"}:
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        return url


def _web_address(api_base: str) -> str:
    parts = urlsplit(api_base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http(s) address")
    return api_base.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]
"""An absolute http(s) address, without a slash at its end."""


class StripeApiSettings(_Group):
    """What the worker needs to move money."""

    model_config = SettingsConfigDict(env_prefix="STRIPE_")

    api_key: SecretStr
    api_base: WebAddress = STRIPE_API

    @field_validator("api_key")
    @classmethod
    def _is_a_secret_key(cls, api_key: SecretStr) -> SecretStr:
        if not api_key.get_secret_value().startswith(("sk_", "rk_")):
            raise ValueError("must be a secret or restricted key (sk_… or rk_…)")
        return api_key

    @validator_of_model(mode="after")
    def _keeps_live_keys_at_stripe(self) -> Self:
        is_live = "_live_" in self.api_key.get_secret_value()
        if is_live and self.api_base != STRIPE_API:
            raise ValueError("STRIPE_API_BASE must not be set together with a live STRIPE_API_KEY")
        return self


class StripeBrowserSettings(_Group):
    """What the API needs: it takes webhooks, and tells browsers where cards go."""

    model_config = SettingsConfigDict(env_prefix="STRIPE_")

    publishable_key: str | None = None
    webhook_secret: SecretStr = SecretStr("")
    """Empty: the webhook route answers 404."""
    api_base: WebAddress = STRIPE_API
    """Anything else is a sandbox, to which browsers send their cards."""

    @field_validator("publishable_key")
    @classmethod
    def _is_publishable(cls, key: str | None) -> str | None:
        if key is not None and not key.startswith("pk_"):
            raise ValueError("must be a publishable key (pk_…)")
        return key

    @validator_of_model(mode="after")
    def _keeps_real_cards_at_stripe(self) -> Self:
        is_live = "_live_" in (self.publishable_key or "")
        if is_live and self.api_base != STRIPE_API:
            raise ValueError(
                "STRIPE_API_BASE must not be set together with a live STRIPE_PUBLISHABLE_KEY"
            )
        return self


class SessionSettings(_Group):
    jwt_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(min_length=1)
    """Newest first, separated by commas: the first signs, all of them verify."""
    session_ttl: Seconds = Field(default=timedelta(days=7), gt=timedelta(0))
    cookie_secure: bool = True

    @field_validator("jwt_keys", mode="before")
    @classmethod
    def _split_at_commas(cls, keys: object) -> object:
        if isinstance(keys, str):
            return [key.strip() for key in keys.split(",") if key.strip()]
        return keys

    @field_validator("jwt_keys")
    @classmethod
    def _are_strong_and_distinct(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value().encode()) < MINIMUM_JWT_KEY_LENGTH for key in keys):
            raise ValueError(f"every key must be at least {MINIMUM_JWT_KEY_LENGTH} bytes long")
        if len({key.get_secret_value() for key in keys}) != len(keys):
            raise ValueError("the same key is listed twice")
        return keys


class PurchaseSettings(_Group):
    """The rules of a purchase; handed to each order's workflow when it starts."""

    reservation_ttl: Seconds = Field(
        default=timedelta(minutes=15), gt=timedelta(0), le=timedelta(days=1)
    )
    payment_attempts: int = Field(default=1, ge=1, le=20)
    max_reservations: int = Field(default=8, ge=1, le=10_000)
    """How many unpaid tickets a buyer may hold at a time."""
    payment_wait: Seconds = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How long an HTTP request waits for a payment's outcome."""
    currency: str = Field(default="usd", pattern=r"^[a-z]{3}$")
    """ISO 4217, in lower case as Stripe writes it; prices are in its minor unit."""


class RateLimitSettings(_Group):
    """Whether sign-in, sign-up and ordering are limited, and whose word for an address counts."""

    rate_limits: Literal["on", "off"] = "on"
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Addresses and CIDR blocks, separated by commas: only these are believed about whom they
    forward for (`X-Forwarded-For`)."""

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_at_commas(cls, proxies: object) -> object:
        if isinstance(proxies, str):
            return [proxy.strip() for proxy in proxies.split(",") if proxy.strip()]
        return proxies


class OperatorSettings(_Group):
    """Who may read and start the check of the invariants."""

    model_config = SettingsConfigDict(env_prefix="OPERATOR_")

    token: SecretStr = SecretStr("")
    """Empty: the operators' routes answer 404."""

    @field_validator("token")
    @classmethod
    def _is_strong(cls, token: SecretStr) -> SecretStr:
        length = len(token.get_secret_value().encode())
        if 0 < length < MINIMUM_OPERATOR_TOKEN_LENGTH:
            raise ValueError(f"must be at least {MINIMUM_OPERATOR_TOKEN_LENGTH} bytes long")
        return token


class MetricsSettings(_Group):
    """Where the process can be scraped by Prometheus."""

    model_config = SettingsConfigDict(env_prefix="METRICS_")

    address: str | None = None
    """An IP address and a port of the process's own; without them, nothing listens."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is None:
            return None
        host, _, port = address.rpartition(":")
        try:
            ip_address(host.strip("[]"))
            int(port)
        except ValueError:
            raise ValueError("must be an IP address and a port, such as 0.0.0.0:9464") from None
        return address


class WorkerVersionSettings(_Group):
    """Which build of the workers this one is; neither is set where builds need no telling apart."""

    model_config = SettingsConfigDict(env_prefix="WORKER_")

    deployment_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """All builds of one installation share it."""
    build_id: str | None = None
    """Such as the image's tag; another one for all code that decides otherwise."""

    @validator_of_model(mode="after")
    def _are_set_together(self) -> Self:
        if (self.deployment_name is None) != (self.build_id is None):
            raise ValueError("WORKER_DEPLOYMENT_NAME and WORKER_BUILD_ID must be set together")
        return self

    @property
    def version(self) -> WorkerDeploymentVersion | None:
        if self.deployment_name is None or self.build_id is None:
            return None
        return WorkerDeploymentVersion(self.deployment_name, self.build_id)


def _without_password(address: str | None) -> str | None:
    if address is not None and urlsplit(address).username is not None:
        raise ValueError("must hold no user; OTEL_EXPORTER_OTLP_HEADERS can identify us")
    return address


class TracingSettings(_Group):
    """Where traces go; OpenTelemetry's SDK reads its other variables (`OTEL_*`) itself."""

    model_config = SettingsConfigDict(env_prefix="OTEL_EXPORTER_OTLP_")

    endpoint: Annotated[WebAddress | None, AfterValidator(_without_password)] = None
    """An OTLP collector's address (HTTP, without `/v1/traces`); without one, nothing is traced."""


class LogSettings(_Group):
    model_config = SettingsConfigDict(env_prefix="LOG_")

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class _ProcessSettings(BaseModel):
    """What every process reads."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    mongodb: MongoDBSettings
    temporal: ClientConfigProfile = Field(repr=False)
    """From `TEMPORAL_*` and Temporal's own configuration file; may hold an API key."""
    task_queue: str = "orders"
    log: LogSettings
    metrics: MetricsSettings = MetricsSettings.model_construct()
    tracing: TracingSettings = TracingSettings.model_construct()


class ApiSettings(_ProcessSettings):
    session: SessionSettings
    purchase: PurchaseSettings
    limits: RateLimitSettings
    stripe: StripeBrowserSettings
    operator: OperatorSettings
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    drain: timedelta = timedelta(0)


class WorkerSettings(_ProcessSettings):
    stripe: StripeApiSettings
    versioning: WorkerVersionSettings


class _TaskQueue(_Group):
    task_queue: str = Field(default="orders", min_length=1, max_length=255)


class _Listen(_Group):
    model_config = SettingsConfigDict(env_prefix="API_")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    drain: Seconds = Field(default=timedelta(0), ge=timedelta(0), le=timedelta(minutes=10))
    """How long to serve on after SIGTERM, not ready, until balancers have heard of it."""


def read_api_settings() -> ApiSettings:
    """Read what the API process needs.

    Raises:
        SettingsError: naming every setting that is missing or wrong.
    """
    read = _Reader()
    values = {
        **read.process_settings(),
        "session": read(SessionSettings),
        "purchase": read(PurchaseSettings),
        "limits": read(RateLimitSettings),
        "stripe": read(StripeBrowserSettings),
        "operator": read(OperatorSettings),
        "listen": read(_Listen),
    }
    read.raise_problems()
    listen = values.pop("listen")
    return ApiSettings(host=listen.host, port=listen.port, drain=listen.drain, **values)


def read_worker_settings() -> WorkerSettings:
    """Read what the worker process needs.

    Raises:
        SettingsError: naming every setting that is missing or wrong.
    """
    read = _Reader()
    values = {
        **read.process_settings(),
        "stripe": read(StripeApiSettings),
        "versioning": read(WorkerVersionSettings),
    }
    read.raise_problems()
    return WorkerSettings(**values)


G = TypeVar("G", bound=_Group)


class _Reader:
    """Reads groups one after the other, so that all problems are told at once."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def __call__(self, group: Callable[[], G]) -> G | None:
        try:
            return group()
        except ValidationError as error:
            prefix = str(getattr(group, "model_config", {}).get("env_prefix", ""))
            self._problems += [_describe(prefix, problem) for problem in error.errors()]
            return None

    def process_settings(self) -> dict[str, Any]:
        queue = self(_TaskQueue)
        return {
            "mongodb": self(MongoDBSettings),
            "temporal": self._temporal(),
            "task_queue": queue.task_queue if queue else "",
            "log": self(LogSettings),
            "metrics": self(MetricsSettings),
            "tracing": self(TracingSettings),
        }

    def _temporal(self) -> ClientConfigProfile | None:
        try:
            profile = ClientConfigProfile.load()
        except Exception as error:
            # The loader raises bare exceptions of its native part.
            self._problems.append(f"TEMPORAL_*: {error}")
            return None
        if not profile.address:
            self._problems.append("TEMPORAL_ADDRESS: is missing")
        try:
            profile.to_client_connect_config()
        except OSError as error:
            self._problems.append(f"TEMPORAL_TLS_*: {error.filename}: {error.strerror}")
        return profile

    def raise_problems(self) -> None:
        if self._problems:
            raise SettingsError("; ".join(self._problems))


def _describe(prefix: str, problem: Any) -> str:  # noqa: ANN401 - pydantic's own error dict
    location = problem["loc"]
    name = f"{prefix}{location[0]}".upper() if location else ""
    message = "is missing" if problem["type"] == "missing" else problem["msg"]
    message = message.removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
