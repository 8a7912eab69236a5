"""Settings are read once; what is missing or contradictory is named, and never shown."""

import subprocess
import sys
from datetime import timedelta

import pytest
from temporalio.common import WorkerDeploymentVersion

from devstack.process import REPOSITORY
from ticketing.settings import SettingsError, read_api_settings, read_worker_settings

JWT_KEY = "an-old-key-that-is-long-enough-to-sign-with"
COMPLETE = {
    "MONGODB_URL": "mongodb://user:hidden-password@127.0.0.1:1/?replicaSet=rs0",
    "TEMPORAL_ADDRESS": "127.0.0.1:1",
    "STRIPE_API_KEY": "sk_test_hidden",
    "JWT_KEYS": JWT_KEY,
}


@pytest.fixture(autouse=True)
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which both processes start."""
    for name in (
        "STRIPE_API_BASE",
        "STRIPE_PUBLISHABLE_KEY",
        "RESERVATION_TTL",
        "CURRENCY",
        "RATE_LIMITS",
        "TRUSTED_PROXIES",
        "METRICS_ADDRESS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "API_DRAIN",
        "WORKER_BUILD_ID",
        "WORKER_DEPLOYMENT_NAME",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def test_a_complete_environment_is_enough() -> None:
    api, worker = read_api_settings(), read_worker_settings()

    assert api.purchase.reservation_ttl == timedelta(minutes=15)
    assert (api.purchase.payment_attempts, api.purchase.currency) == (1, "usd")
    assert api.purchase.max_reservations == 8
    assert api.purchase.payment_wait == timedelta(seconds=10)
    assert worker.stripe.api_base == "https://api.stripe.com"
    assert worker.temporal.address == "127.0.0.1:1"


def test_nothing_is_measured_or_traced_unless_a_setting_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for settings in (read_api_settings(), read_worker_settings()):
        assert (settings.metrics.address, settings.tracing.endpoint) == (None, None)

    monkeypatch.setenv("METRICS_ADDRESS", "0.0.0.0:9464")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")
    for settings in (read_api_settings(), read_worker_settings()):
        assert settings.metrics.address == "0.0.0.0:9464"
        assert settings.tracing.endpoint == "http://collector:4318"


@pytest.mark.parametrize("address", ["collector:4318", "http://user:hidden@collector:4318"])
def test_an_address_of_a_collector_that_is_none_or_holds_a_password_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)

    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT: must ") as refused:
        read_api_settings()
    assert "hidden" not in str(refused.value)


def test_limits_are_on_and_no_proxy_is_trusted_unless_a_setting_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_api_settings().limits.rate_limits == "on"
    assert read_api_settings().limits.trusted_proxies == ()

    monkeypatch.setenv("RATE_LIMITS", "off")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::1")
    assert read_api_settings().limits.rate_limits == "off"
    assert [str(proxy) for proxy in read_api_settings().limits.trusted_proxies] == [
        "10.0.0.0/8",
        "2001:db8::1/128",
    ]


def test_no_secret_shows_in_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", "hidden-temporal-key")
    monkeypatch.setenv("OPERATOR_TOKEN", "hidden-operator-token-of-enough-bytes")

    shown = f"{read_api_settings()!r} {read_api_settings()} {read_worker_settings()!r}"

    assert "hidden" not in shown
    assert JWT_KEY not in shown


def test_the_worker_does_not_read_what_signs_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JWT_KEYS")
    read_worker_settings()


def test_the_api_does_not_read_what_moves_money(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIPE_API_KEY")
    read_api_settings()


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "0.0.0.0:0", "[::1]:9464"])
def test_metrics_are_served_at_an_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("METRICS_ADDRESS", address)

    assert read_worker_settings().metrics.address == address


@pytest.mark.parametrize("seconds", ["5", "0.5", "PT5S"])
def test_durations_are_seconds_or_iso_8601(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv("RESERVATION_TTL", seconds)

    assert read_api_settings().purchase.reservation_ttl in (
        timedelta(seconds=5),
        timedelta(seconds=0.5),
    )


def test_several_keys_are_kept_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = "a-new-key-that-is-long-enough-to-sign-with"
    monkeypatch.setenv("JWT_KEYS", f"{newest}, {JWT_KEY}")

    keys = [key.get_secret_value() for key in read_api_settings().session.jwt_keys]

    assert keys == [newest, JWT_KEY]


def test_everything_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMPLETE:
        monkeypatch.delenv(name)

    with pytest.raises(SettingsError) as missing:
        read_api_settings()

    for name in ("MONGODB_URL", "TEMPORAL_ADDRESS", "JWT_KEYS"):
        assert f"{name}: is missing" in str(missing.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_KEYS", "short"),
        ("JWT_KEYS", f"{JWT_KEY},{JWT_KEY}"),
        ("JWT_KEYS", " , "),
        ("MONGODB_URL", "postgres://secret-host"),
        ("RESERVATION_TTL", "0"),
        ("RESERVATION_TTL", "-5"),
        ("RESERVATION_TTL", "soon"),
        ("RESERVATION_TTL", "nan"),
        ("RESERVATION_TTL", "inf"),
        ("PAYMENT_ATTEMPTS", "0"),
        ("MAX_RESERVATIONS", "0"),
        ("PAYMENT_WAIT", "0"),
        ("CURRENCY", "USD"),
        ("COOKIE_SECURE", "perhaps"),
        ("RATE_LIMITS", "sometimes"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "10.0.0.1, proxy.example"),
        ("LOG_FORMAT", "yaml"),
        ("API_PORT", "70000"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_live_in_the_wrong_place"),
        ("OPERATOR_TOKEN", "an-operator-token-of-31-bytes-x"),
    ],
)
def test_a_wrong_setting_of_the_api_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as wrong:
        read_api_settings()

    assert f"{name}: " in str(wrong.value)
    if name in ("JWT_KEYS", "MONGODB_URL", "STRIPE_PUBLISHABLE_KEY", "OPERATOR_TOKEN"):
        assert value not in str(wrong.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"STRIPE_API_KEY": "pk_test_x"}, "STRIPE_API_KEY"),
        ({"STRIPE_API_BASE": "ftp://127.0.0.1"}, "STRIPE_API_BASE"),
        ({"METRICS_ADDRESS": "9464"}, "METRICS_ADDRESS"),
        ({"METRICS_ADDRESS": "localhost:9464"}, "METRICS_ADDRESS"),
        ({"METRICS_ADDRESS": "0.0.0.0:metrics"}, "METRICS_ADDRESS"),
        (
            {"STRIPE_API_KEY": "sk_live_x", "STRIPE_API_BASE": "http://127.0.0.1:12111"},
            "STRIPE_API_BASE",
        ),
    ],
)
def test_a_contradiction_of_the_worker_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], named: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=named):
        read_worker_settings()


def test_a_build_has_a_name_only_together_with_its_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_worker_settings().versioning.version is None

    monkeypatch.setenv("WORKER_BUILD_ID", "1.0.0")
    both = "WORKER_DEPLOYMENT_NAME and WORKER_BUILD_ID must be set together"
    with pytest.raises(SettingsError, match=both):
        read_worker_settings()

    monkeypatch.setenv("WORKER_DEPLOYMENT_NAME", "holdfast")
    assert read_worker_settings().versioning.version == WorkerDeploymentVersion("holdfast", "1.0.0")


def test_the_api_stops_at_once_unless_it_is_told_to_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_api_settings().drain == timedelta(0)

    monkeypatch.setenv("API_DRAIN", "10")
    assert read_api_settings().drain == timedelta(seconds=10)

    monkeypatch.setenv("API_DRAIN", "-1")
    with pytest.raises(SettingsError, match="API_DRAIN"):
        read_api_settings()


def test_a_worker_without_its_settings_names_them_and_exits_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "worker.py"],
        cwd=REPOSITORY,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "STRIPE_API_KEY: is missing" in done.stderr
    assert "Traceback" not in done.stderr
