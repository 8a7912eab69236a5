"""Whether the process answers, and whether it could do its work."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from httpx import AsyncClient
from temporalio.envconfig import ClientConfigProfile
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from api.resources import resources_of
from tests.api.conftest import Mongo, assert_problem, visit
from tests.waiting import eventually
from ticketing.settings import ApiSettings

TEST_SERVER = Path(sys.executable).with_name("temporal-test-server")


async def test_a_process_that_answers_is_healthy(client: AsyncClient) -> None:
    answer = await client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readiness_names_what_does_not_respond(client: AsyncClient) -> None:
    answer = await client.get("/readyz")

    assert assert_problem(answer, 503, "not_ready")["unavailable"] == ["temporal"]
    assert answer.headers["Retry-After"] == "2"


async def test_readiness_is_asked_for_no_more_than_is_needed(client: AsyncClient) -> None:
    """Nobody can buy while Temporal is down, but everybody can look."""
    assert (await client.get("/readyz?needs=mongodb")).status_code == 200
    for query in ("needs=temporal", "needs=mongodb&needs=temporal"):
        answer = await client.get(f"/readyz?{query}")
        assert assert_problem(answer, 503, "not_ready")["unavailable"] == ["temporal"]


async def test_readiness_knows_which_parts_there_are(client: AsyncClient) -> None:
    assert_problem(await client.get("/readyz?needs=mongo"), 422, "validation_error")


async def test_a_process_that_drains_is_not_ready_whatever_is_needed(
    app: FastAPI, client: AsyncClient
) -> None:
    resources_of(app).draining.set()

    answer = await client.get("/readyz?needs=mongodb")

    assert assert_problem(answer, 503, "not_ready")["unavailable"] == ["api"]


async def test_the_api_is_ready_once_everything_responds(
    mongodb: Mongo, api_settings: ApiSettings
) -> None:
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(TEST_SERVER)
    ) as env:
        profile = ClientConfigProfile(address=env.client.service_client.config.target_host)
        app = create_app(api_settings.model_copy(update={"temporal": profile}))
        async with app.router.lifespan_context(app), visit(app) as client:
            answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_temporal_that_is_slow_to_connect_to_is_connected_to_once(
    mongodb: Mongo, api_settings: ApiSettings
) -> None:
    """The probe gives up, and the connecting goes on."""
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(TEST_SERVER)
        ) as env,
        slow_door(env.client.service_client.config.target_host) as door,
    ):
        profile = ClientConfigProfile(address=door.address)
        app = create_app(api_settings.model_copy(update={"temporal": profile}))
        async with app.router.lifespan_context(app), visit(app) as client:
            for _ in range(2):
                answer = await client.get("/readyz")
                assert assert_problem(answer, 503, "not_ready")["unavailable"] == ["temporal"]
            door.opened.set()

            await eventually(lambda: _is_ready(client))

    assert door.callers == 1


async def _is_ready(client: AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


class SlowDoor:
    """A way to a server on which nothing passes until it is opened."""

    def __init__(self, host: str, port: str) -> None:
        self.address = ""
        self.opened = asyncio.Event()
        self.callers = 0
        self._behind = (host, int(port))

    async def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.callers += 1
        await self.opened.wait()
        server_reader, server_writer = await asyncio.open_connection(*self._behind)
        await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))


@asynccontextmanager
async def slow_door(target: str) -> AsyncIterator[SlowDoor]:
    door = SlowDoor(*target.split(":"))
    async with await asyncio.start_server(door.let_in, "127.0.0.1", 0) as server:
        door.address = "{}:{}".format(*server.sockets[0].getsockname())
        yield door


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
