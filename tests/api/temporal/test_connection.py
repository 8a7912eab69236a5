"""The API's connection to Temporal: one attempt at a time, repeated until it succeeds."""

import asyncio
from functools import partial

import pytest
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from api.temporal.connection import TemporalConnection
from ticketing.errors import TemporalUnavailable
from ticketing.temporal import connect_temporal

NOBODY_LISTENS = ClientConfigProfile(address="127.0.0.1:1")


@pytest.fixture
async def client() -> Client:
    """A client that asks nobody."""
    return await Client.connect("127.0.0.1:1", lazy=True)


async def test_a_server_that_nobody_can_reach_is_unavailable() -> None:
    connection = TemporalConnection(partial(connect_temporal, NOBODY_LISTENS))

    with pytest.raises(TemporalUnavailable):
        await connection.client()
    assert not await connection.responds()


async def test_after_a_failure_the_next_request_connects_anew(client: Client) -> None:
    failures = iter([RuntimeError("nobody listens")])

    async def connect() -> Client:
        for failure in failures:
            raise failure
        return client

    connection = TemporalConnection(connect)
    with pytest.raises(TemporalUnavailable):
        await connection.client()
    assert await connection.client() is client


async def test_who_gives_up_does_not_end_the_attempt_of_the_others(client: Client) -> None:
    may_connect, attempts = asyncio.Event(), 0

    async def connect() -> Client:
        nonlocal attempts
        attempts += 1
        await may_connect.wait()
        return client

    connection = TemporalConnection(connect)
    impatient = asyncio.create_task(connection.client())
    patient = asyncio.create_task(connection.client())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    may_connect.set()

    assert await patient is client
    assert (impatient.cancelled(), attempts) == (True, 1)


async def test_what_is_still_connecting_is_stopped() -> None:
    async def connect() -> Client:
        return await asyncio.Future[Client]()

    connection = TemporalConnection(connect)
    connection.start_connecting()
    await connection.aclose()
