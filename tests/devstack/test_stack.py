"""`make run`: starts, stops without leftovers, and resumes where it was."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from devstack.process import REPOSITORY, StackError
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.processes import children, is_alive
from tests.devstack.waiting import eventually


@contextmanager
def make_run(settings: StackSettings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m devstack`, and kill what is left of it."""
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    environ |= {name: str(port) for name, port in settings.ports.items()}
    environ["STACK_DIR"] = str(settings.stack_dir)
    with log.open("ab") as output:
        command = [sys.executable, "-m", "devstack"]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _signed_up(api: str, email: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api) as client:
        user = {"email": email, "password": "a long password"}
        assert client.post("/api/users/signup", json=user).status_code == 201
        yield client


def _created(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 201, response.text
    answer: dict[str, str] = response.json()
    return answer


def _wait_until_up(process: subprocess.Popen[bytes], log: Path) -> None:
    eventually(lambda: "Holdfast is up" in log.read_text() or process.poll() is not None, 60)
    assert process.poll() is None, log.read_text()


def _wait_until_stopped(process: subprocess.Popen[bytes], parts: dict[int, str]) -> int:
    exit_code = process.wait(timeout=60)
    assert [command for pid, command in parts.items() if is_alive(pid)] == []
    return exit_code


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    """A stack of the test's own."""
    return StackSettings.on_free_ports(tmp_path / "stack")


@pytest.mark.long
def test_it_stops_without_leftovers_and_resumes_open_orders(
    settings: StackSettings, tmp_path: Path
) -> None:
    log = tmp_path / "first.log"
    api = settings.urls["api"]
    with make_run(settings, log) as process:
        _wait_until_up(process, log)
        assert httpx.get(f"{api}/readyz").status_code == 200
        for part in ("temporal_ui", "api_metrics", "worker_metrics"):
            assert settings.urls[part] in log.read_text()
            assert httpx.get(settings.urls[part]).status_code == 200
        assert f"Storefront         {api}/\n" in log.read_text()
        assert f"{api}/docs" in log.read_text()
        assert "make demo" in log.read_text()
        assert "pm_card_visa" in log.read_text()
        with _signed_up(api, "seller@example.com") as seller:
            listing = {"title": "A seat in the front row", "price": 4200}
            ticket = _created(seller.post("/api/tickets", json=listing))
        with _signed_up(api, "buyer@example.com") as buyer:
            order = _created(buyer.post("/api/orders", json={"ticketId": ticket["id"]}))
            session = dict(buyer.cookies)
        parts = children(process.pid)
        assert len(parts) == 5
        process.send_signal(signal.SIGINT)
        assert _wait_until_stopped(process, parts) == 0

    log = tmp_path / "second.log"
    with make_run(settings, log) as process:
        _wait_until_up(process, log)
        with httpx.Client(base_url=api, cookies=session) as buyer:
            assert buyer.get(f"/api/orders/{order['id']}").json()["status"] == "created"
            payment = {"orderId": order["id"], "paymentMethod": "pm_card_visa"}
            assert _created(buyer.post("/api/payments", json=payment))["status"] == "completed"
            assert buyer.get(f"/api/orders/{order['id']}").json()["status"] == "completed"
        parts = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert _wait_until_stopped(process, parts) == 0


@pytest.mark.long
def test_after_a_crash_of_everything_it_starts_again(
    settings: StackSettings, tmp_path: Path
) -> None:
    log = tmp_path / "first.log"
    with make_run(settings, log) as process:
        _wait_until_up(process, log)
        parts = children(process.pid)
        process.kill()
        eventually(lambda: not any(is_alive(pid) for pid in parts))
    log = tmp_path / "second.log"
    with make_run(settings, log) as process:
        _wait_until_up(process, log)


@pytest.mark.long
def test_a_part_that_dies_is_named_and_the_rest_stops(
    settings: StackSettings, tmp_path: Path
) -> None:
    log = tmp_path / "run.log"
    with make_run(settings, log) as process:
        _wait_until_up(process, log)
        parts = children(process.pid)
        (worker,) = [pid for pid, command in parts.items() if "worker.py" in command]
        os.kill(worker, signal.SIGKILL)
        assert _wait_until_stopped(process, parts) == 1
    assert "worker ended: exit code -9" in log.read_text()


def test_a_taken_port_is_an_error_before_anything_starts(
    settings: StackSettings, tmp_path: Path
) -> None:
    clashing = settings.model_copy(update={"api_port": settings.mongodb_port})
    log = tmp_path / "run.log"
    with make_run(clashing, log) as process:
        assert process.wait(timeout=30) == 1
    assert "API_PORT" in log.read_text()
    assert not (settings.stack_dir / "mongodb").exists()


def test_a_wrong_setting_of_the_application_is_named_before_anything_starts(
    settings: StackSettings,
) -> None:
    stack = Stack(settings, {**os.environ, "RESERVATION_TTL": "soon"})
    with pytest.raises(StackError, match="RESERVATION_TTL: must be a number of seconds"):
        stack.start()
    stack.stop()
    assert stack.parts == {}
    assert not (settings.stack_dir / "mongodb").exists()


def test_a_directory_in_use_by_another_stack_is_refused(settings: StackSettings) -> None:
    settings.stack_dir.mkdir()
    with (settings.stack_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack = Stack(settings)
        with pytest.raises(StackError, match="running already: STACK_DIR"):
            stack.start()
    assert stack.parts == {}
