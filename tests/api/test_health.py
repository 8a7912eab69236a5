"""Whether the process answers, and whether it could do its work."""

import sys
from pathlib import Path

from httpx import AsyncClient
from temporalio.envconfig import ClientConfigProfile
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from tests.api.conftest import Mongo, assert_problem, visit
from ticketing.settings import ApiSettings

TEST_SERVER = Path(sys.executable).with_name("temporal-test-server")


async def test_a_process_that_answers_is_healthy(client: AsyncClient) -> None:
    answer = await client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readiness_names_what_does_not_respond(client: AsyncClient) -> None:
    answer = await client.get("/readyz")

    assert assert_problem(answer, 503, "not_ready")["unavailable"] == ["temporal"]
    assert answer.headers["Retry-After"] == "2"


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
