"""`python -m api` as a process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from devstack.ports import free_ports
from tests.observability.collector import running_collector

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-the-tests-that-is-long-enough"


def start(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    """The API with this environment and no other setting."""
    return subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def settings(mongodb_url: str, port: int) -> dict[str, str]:
    return {
        "MONGODB_URL": mongodb_url,
        "MONGODB_DATABASE": "test_main",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "JWT_KEYS": KEY,
        "API_PORT": str(port),
        "LOG_FORMAT": "json",
    }


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    process = start(tmp_path)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    assert errors.startswith("holdfast api: ")
    for name in ("MONGODB_URL", "TEMPORAL_ADDRESS", "JWT_KEYS"):
        assert f"{name}: is missing" in errors
    assert "Traceback" not in errors


def test_a_mongodb_that_does_not_respond_is_named(tmp_path: Path) -> None:
    process = start(tmp_path, **settings("mongodb://user:hunter2@127.0.0.1:1/", 0))
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "holdfast api: MONGODB_URL: MongoDB cannot be used: 127.0.0.1:1: [Errno 111]" in errors
    assert "hunter2" not in errors
    assert "Traceback" not in errors


def test_a_metrics_address_that_is_taken_is_named(tmp_path: Path, mongodb_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start(tmp_path, **settings(mongodb_url, 0), METRICS_ADDRESS=address)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert f"holdfast api: METRICS_ADDRESS={address}: " in errors
    assert "in use" in errors
    assert "Traceback" not in errors


@pytest.mark.long
def test_it_serves_and_stops_although_nobody_takes_its_traces(
    tmp_path: Path, mongodb_url: str
) -> None:
    (port,) = free_ports(1)
    nowhere = "http://127.0.0.1:1"
    environment = {**settings(mongodb_url, port), "OTEL_EXPORTER_OTLP_ENDPOINT": nowhere}
    process = start(tmp_path, **environment)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "running on" in line:
                break
        assert httpx.get(f"http://127.0.0.1:{port}/api/tickets").status_code == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()

    assert process.returncode == 0
    assert '"traceId"' in errors
    assert "Traceback" not in errors


def test_what_was_traced_is_sent_before_it_ends(tmp_path: Path, mongodb_url: str) -> None:
    (port,) = free_ports(1)
    with running_collector() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        process = start(tmp_path, **settings(mongodb_url, port), **environment)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "running on" in line:
                    break
            httpx.get(f"http://127.0.0.1:{port}/api/tickets")
            assert collector.spans() == []
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        finally:
            process.kill()

        spans = collector.spans()
    assert "GET /api/tickets" in {span.name for span in spans}
    assert "find tickets" in {span.name for span in spans}


@pytest.mark.parametrize(
    "stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_it_stops_when_told_to_while_it_starts(tmp_path: Path, stop: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(30)
        url = f"mongodb://127.0.0.1:{mute.getsockname()[1]}/"
        process = start(tmp_path, **settings(url, 0))
        try:
            connection, _ = mute.accept()
            process.send_signal(stop)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
        connection.close()

    assert process.returncode == 0
    assert errors == ""


@pytest.mark.parametrize(
    "stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_it_serves_until_it_is_told_to_stop(
    tmp_path: Path, mongodb_url: str, stop: signal.Signals
) -> None:
    (port,) = free_ports(1)
    process = start(tmp_path, **settings(mongodb_url, port))
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "running on" in line:
                break
        answer = httpx.get(f"http://127.0.0.1:{port}/api/tickets?q=private")
        assert answer.status_code == 200
        assert "server" not in answer.headers
        process.send_signal(stop)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == 0
    assert "/api/tickets" in errors
    assert "private" not in errors
    assert "Traceback" not in errors
