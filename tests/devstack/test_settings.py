"""Ports, directory and secrets of the embedded stack."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo.uri_parser import parse_uri

from devstack.environment import app_environment
from devstack.ports import LOOPBACK
from devstack.process import StackError
from devstack.settings import ProcessCounts, StackSettings, check_ports, read_stack_settings


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that is taken."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_are_accepted(tmp_path: Path) -> None:
    check_ports(StackSettings.on_free_ports(tmp_path))


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path, taken_port: int) -> None:
    settings = StackSettings.on_free_ports(tmp_path).model_copy(update={"api_port": taken_port})
    with pytest.raises(
        StackError, match=rf"API_PORT={taken_port} is taken(.|\n)*API_PORT=\d+ make"
    ):
        check_ports(settings)


def test_two_settings_with_one_port_are_named(tmp_path: Path) -> None:
    settings = StackSettings.on_free_ports(tmp_path)
    settings = settings.model_copy(update={"temporal_ui_port": settings.api_port})
    with pytest.raises(StackError, match="TEMPORAL_UI_PORT and API_PORT are both"):
        check_ports(settings)


def test_with_a_stripe_key_the_sandbox_needs_no_port(
    monkeypatch: pytest.MonkeyPatch, taken_port: int
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_mine")
    monkeypatch.setenv("STRIPE_SANDBOX_PORT", str(taken_port))
    assert "STRIPE_SANDBOX_PORT" not in read_stack_settings().ports


def test_a_wrong_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_PORT", "many")
    with pytest.raises(StackError, match="MONGODB_PORT"):
        read_stack_settings()


def test_every_process_has_a_port_and_every_member_is_in_the_url(tmp_path: Path) -> None:
    settings = StackSettings.on_free_ports(tmp_path, ProcessCounts(mongodb=3, api=2, workers=2))
    assert settings.process_counts == ProcessCounts(mongodb=3, api=2, workers=2)
    assert len(set(settings.ports.values())) == len(settings.ports) == 12
    assert set(settings.ports.values()) > {
        *settings.api_ports,
        *settings.mongodb_ports,
        *settings.api_metrics_ports,
        *settings.worker_metrics_ports,
    }
    members = parse_uri(app_environment(settings, {})["MONGODB_URL"])["nodelist"]
    assert members == [(LOOPBACK, port) for port in settings.mongodb_ports]


def test_secrets_are_generated_once_and_only_the_owner_can_read_them(tmp_path: Path) -> None:
    settings = StackSettings.on_free_ports(tmp_path / "stack")
    first = app_environment(settings, {})
    second = app_environment(settings, {})
    assert first["JWT_KEYS"] == second["JWT_KEYS"]
    assert len(first["JWT_KEYS"]) >= 32
    assert first["STRIPE_WEBHOOK_SECRET"].startswith("whsec_")
    assert first["OPERATOR_TOKEN"] == second["OPERATOR_TOKEN"]
    file = tmp_path / "stack" / "secrets.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_secret_missing_from_an_older_file_is_added(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("JWT_KEYS=from-before\n")
    first = app_environment(StackSettings.on_free_ports(tmp_path), {})
    assert first["JWT_KEYS"] == "from-before"
    assert len(first["OPERATOR_TOKEN"]) >= 32
    assert (
        app_environment(StackSettings.on_free_ports(tmp_path), {})["OPERATOR_TOKEN"]
        == (first["OPERATOR_TOKEN"])
    )


def test_the_users_settings_reach_the_app_but_not_those_of_another_temporal(tmp_path: Path) -> None:
    user = {
        "RESERVATION_TTL": "5",
        "TEMPORAL_ADDRESS": "elsewhere:7233",
        "TEMPORAL_API_KEY": "secret",
        "LOG_FORMAT": "json",
        "JWT_KEYS": "mine",
    }
    settings = StackSettings.on_free_ports(tmp_path)
    environment = app_environment(settings, user)
    assert environment["RESERVATION_TTL"] == "5"
    assert environment["LOG_FORMAT"] == "json"
    assert environment["JWT_KEYS"] == "mine"
    assert environment["TEMPORAL_ADDRESS"] == settings.temporal_address
    assert "TEMPORAL_API_KEY" not in environment
    assert environment["STRIPE_API_BASE"] == settings.urls["stripe_sandbox"]


def test_with_a_stripe_key_the_users_stripe_settings_stay(tmp_path: Path) -> None:
    user = {"STRIPE_API_KEY": "sk_test_mine", "STRIPE_WEBHOOK_SECRET": "whsec_mine"}
    settings = StackSettings.on_free_ports(tmp_path)
    settings = settings.model_copy(update={"stripe_api_key": "sk_test_mine"})
    environment = app_environment(settings, user)
    assert environment["STRIPE_API_KEY"] == "sk_test_mine"
    assert environment["STRIPE_WEBHOOK_SECRET"] == "whsec_mine"
    assert "STRIPE_API_BASE" not in environment


def test_rate_limits_are_off_unless_the_user_sets_them(tmp_path: Path) -> None:
    settings = StackSettings.on_free_ports(tmp_path)

    assert app_environment(settings, {})["RATE_LIMITS"] == "off"
    assert app_environment(settings, {"RATE_LIMITS": "on"})["RATE_LIMITS"] == "on"
