"""No container engine runs in the tests, so the file's parts are held against the real code."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.process import REPOSITORY
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.deploy.compose import COMPOSE_FILE, compose, variables
from ticketing.settings import read_api_settings, read_worker_settings

SECRETS = {
    "JWT_KEYS": "j" * 32,
    "STRIPE_API_KEY": "sk_test_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "MONGODB_PASSWORD": "mongodbsecret",
    "POSTGRES_PASSWORD": "postgressecret",
}
ONE_SHOT = {"temporal-schema", "temporal-namespace", "search-attributes"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services, with every secret given."""
    found: dict[str, Any] = compose(SECRETS)["services"]
    return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system, for the commands of the file to be run against."""
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("stack"))
    with Stack(settings) as running:
        yield running


def test_the_file_follows_the_compose_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_has_a_default(name: str) -> None:
    others = {key: value for key, value in SECRETS.items() if key != name}
    with pytest.raises(LookupError, match=name):
        compose(others)


def test_exactly_the_secrets_are_required() -> None:
    assert {name for name, required in variables().items() if required} == set(SECRETS)


def test_only_who_needs_a_secret_gets_it(services: dict[str, Any]) -> None:
    holders = {
        secret: {name for name, service in services.items() if secret in json.dumps(service)}
        for secret in SECRETS.values()
    }
    assert holders == {
        SECRETS["JWT_KEYS"]: {"api"},
        SECRETS["STRIPE_API_KEY"]: {"worker"},
        SECRETS["STRIPE_WEBHOOK_SECRET"]: {"api"},
        SECRETS["MONGODB_PASSWORD"]: {"api", "worker", "mongodb"},
        SECRETS["POSTGRES_PASSWORD"]: {"postgresql", "temporal", "temporal-schema"},
    }


def test_each_service_is_watched_or_waited_for(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) != (name in ONE_SHOT), name
        for dependency, how in service.get("depends_on", {}).items():
            is_one_shot = dependency in ONE_SHOT
            expected = "service_completed_successfully" if is_one_shot else "service_healthy"
            assert how["condition"] == expected, (name, dependency)


def test_no_service_gains_privileges_and_ports_open_on_this_machine_only(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert re.fullmatch(r"holdfast|[\w/-]+:[\w.-]+", service["image"]), name


def test_the_environment_of_each_process_is_all_that_it_needs(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in services["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert read_api_settings().mongodb.database == "holdfast"

    for name in services["api"]["environment"]:
        monkeypatch.delenv(name)
    for name, value in services["worker"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert read_worker_settings().task_queue == "orders"


@pytest.mark.parametrize("name", ["api", "worker"])
@pytest.mark.long
def test_the_embedded_stack_runs_the_very_command(
    name: str, services: dict[str, Any], stack: Stack
) -> None:
    interpreter, *arguments = services[name]["command"]
    assert interpreter == "python"
    assert list(stack.parts[name].command) == [sys.executable, *arguments]


@pytest.mark.long
def test_the_api_is_found_healthy(services: dict[str, Any], stack: Stack) -> None:
    *command, script = services["api"]["healthcheck"]["test"]
    assert command == ["CMD", "python", "-c"]
    assert ":8000/" in script
    here = script.replace(":8000/", f":{stack.settings.api_port}/")
    assert _run(["python", "-c", here], stack).returncode == 0
    nowhere = script.replace(":8000/", ":1/")
    assert _run(["python", "-c", nowhere], stack).returncode != 0


@pytest.mark.long
def test_the_worker_is_found_healthy(services: dict[str, Any], stack: Stack) -> None:
    kind, *command = services["worker"]["healthcheck"]["test"]
    assert kind == "CMD"
    polling = _run(command, stack)
    assert polling.returncode == 0, polling.stderr
    elsewhere = _run(command, stack, TASK_QUEUE="nobody-polls-this")
    assert elsewhere.returncode != 0
    assert "nobody-polls-this" in elsewhere.stderr


@pytest.mark.long
def test_search_attributes_are_registered_by_the_set_up(
    services: dict[str, Any], stack: Stack
) -> None:
    command = services["search-attributes"]["command"]
    registered = _run(command, stack)
    assert registered.returncode == 0, registered.stderr
    assert "default" in registered.stdout
    failed = _run(command, stack, TEMPORAL_ADDRESS="127.0.0.1:1")
    assert failed.returncode != 0
    assert "search attributes not registered" in failed.stderr


def _run(command: list[str], stack: Stack, **environ: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**stack.environment, "PATH": path, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
