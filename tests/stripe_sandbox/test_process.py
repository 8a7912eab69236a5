"""The sandbox as a process: started, stopped, killed and started again."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from stripe_sandbox.testing import stripe_client

SECRET = "whsec_of_the_tests"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.asynccontextmanager
async def process(port: int, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "STRIPE_WEBHOOK_SECRET": SECRET}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stripe_sandbox",
        f"--port={port}",
        *arguments,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def ready(url: str) -> httpx.Response:
    async with asyncio.timeout(10), httpx.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                return await http.get(f"{url}/healthz")
            await asyncio.sleep(0.02)


def authorize(client: Any) -> Any:
    return client.payment_intents.create_async(
        {
            "amount": 2000,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "payment_method_types": ["card"],
            "confirm": True,
            "capture_method": "manual",
        },
        {"idempotency_key": "authorize"},
    )


async def test_a_kill_loses_no_payment_answer_or_pending_event(tmp_path: Path) -> None:
    port, webhook_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    options = (
        f"--database={tmp_path / 'state' / 'stripe.sqlite3'}",
        f"--webhook-url=http://127.0.0.1:{webhook_port}/hook",
    )
    async with process(port, *options) as sandbox, stripe_client(url) as client:
        await ready(url)
        first = await authorize(client.v1)
        sandbox.send_signal(signal.SIGKILL)
        await sandbox.wait()

    received = set()

    async def endpoint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(
            line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line
        )
        body = await reader.readexactly(int(headers["content-length"]))
        event = stripe.Webhook.construct_event(
            body, headers["stripe-signature"], SECRET, api_key="sk_test_x"
        )
        received.add(event.type)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(endpoint, "127.0.0.1", webhook_port),
        process(port, *options),
        stripe_client(url) as client,
    ):
        await ready(url)
        again = await authorize(client.v1)
        assert again.id == first.id
        assert again.last_response.headers["Idempotent-Replayed"] == "true"
        async with asyncio.timeout(10):
            while len(received) < 3:  # noqa: ASYNC110 - nothing sets an event
                await asyncio.sleep(0.02)
    assert received == {
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with process(port) as sandbox:
        assert (await ready(url)).json() == {"status": "ok"}
        sandbox.send_signal(number)
        _, errors = await sandbox.communicate()
        assert sandbox.returncode == 0
        assert b"Traceback" not in errors


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process(port) as sandbox:
            _, errors = await sandbox.communicate()
    assert sandbox.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in errors.decode()
