"""What operators see and ask for over HTTP, and that nobody else does."""

from collections.abc import AsyncIterator

import pytest
from beanie import PydanticObjectId
from httpx import AsyncClient
from pydantic import SecretStr

from tests.api.conftest import assert_problem
from tests.purchases.marketplace import Marketplace, Person
from tests.reconciliation.auditor import Auditor
from tests.settings import OPERATOR_TOKEN
from tests.waiting import eventually
from ticketing.models import ReconciliationRun
from ticketing.settings import OperatorSettings
from workflows.reconciliation_schedules import schedule_reconciliation

INVARIANTS = "/api/operations/invariants"
FINDING = {
    "id",
    "invariant",
    "code",
    "detail",
    "ticketId",
    "orderId",
    "intentId",
    "status",
    "foundAt",
    "lastSeenAt",
    "resolvedAt",
}


@pytest.fixture
async def operator(market: Marketplace) -> AsyncIterator[AsyncClient]:
    http = market.visit()
    http.headers["Authorization"] = f"Bearer {OPERATOR_TOKEN}"
    yield http
    await http.aclose()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_the_token_there_is_nothing_to_see(market: Marketplace, method: str) -> None:
    for authorization in (
        b"",
        b"Bearer wrong",
        f"Basic {OPERATOR_TOKEN}".encode(),
        f"Bearer {OPERATOR_TOKEN}x".encode(),
        b"Bearer \xff\xfe",
    ):
        headers = {b"Authorization": authorization}
        answer = await market.visit().request(method, INVARIANTS, headers=headers)
        assert_problem(answer, 401, "not_operator")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_session_is_no_operator_token(seller: Person, method: str) -> None:
    assert_problem(await seller.http.request(method, INVARIANTS), 401, "not_operator")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_no_token_is_set_there_is_no_such_route(
    market: Marketplace, operator: AsyncClient, method: str
) -> None:
    market._set(operator=OperatorSettings(token=SecretStr("")))

    assert_problem(await operator.request(method, INVARIANTS), 404, "not_found")
    bare = await market.visit().request(method, INVARIANTS, headers={"Authorization": "Bearer "})
    assert_problem(bare, 404, "not_found")


async def test_before_the_first_check_there_is_nothing(operator: AsyncClient) -> None:
    answer = await operator.get(INVARIANTS)

    assert answer.json() == {"lastRun": None, "items": [], "nextCursor": None}


async def test_violations_are_listed_newest_first_with_the_last_run(
    auditor: Auditor, operator: AsyncClient, seller: Person
) -> None:
    ticket = await seller.list_ticket()
    await auditor.tamper_with_ticket(ticket, order_id=PydanticObjectId())
    for _ in range(3):
        await auditor.authorize(str(PydanticObjectId()))
        await auditor.check()

    first = (await operator.get(INVARIANTS, params={"limit": 2})).json()
    second = (await operator.get(INVARIANTS, params={"cursor": first["nextCursor"]})).json()

    items = first["items"] + second["items"]
    assert [item["code"] for item in items] == ["authorization_of_unknown_order"] * 3
    assert [item["foundAt"] for item in items] == sorted(
        (item["foundAt"] for item in items), reverse=True
    )
    assert all(item.keys() == FINDING for item in items)
    assert second["nextCursor"] is None
    run = first["lastRun"]
    assert (run["scope"], run["reported"], run["repaired"]) == ("recent", 3, 0)
    assert run["finishedAt"] is not None
    assert run["checked"] == {"tickets": 0, "orders": 0, "workflows": 0, "intents": 3}
    (repaired,) = (await operator.get(INVARIANTS, params={"status": "repaired"})).json()["items"]
    assert (repaired["invariant"], repaired["ticketId"]) == ("I3", ticket["id"])
    assert repaired["resolvedAt"] is not None
    assert (await operator.get(INVARIANTS, params={"status": "resolved"})).json()["items"] == []


async def test_a_wrong_filter_is_refused(operator: AsyncClient) -> None:
    answer = await operator.get(INVARIANTS, params={"status": "wrong"})
    assert_problem(answer, 422, "validation_error")
    answer = await operator.post(INVARIANTS, params={"scope": "everything"})
    assert_problem(answer, 422, "validation_error")


@pytest.mark.parametrize("scope", ["recent", "full"])
async def test_an_operator_has_everything_checked_at_once(
    market: Marketplace, operator: AsyncClient, scope: str
) -> None:
    await schedule_reconciliation(market.temporal, market.settings.task_queue)

    answer = await operator.post(INVARIANTS, params={"scope": scope})

    assert (answer.status_code, answer.json()) == (202, {"scope": scope})
    await eventually(lambda: _finished(scope))


async def test_a_check_that_nobody_has_scheduled_yet_cannot_be_asked_for(
    operator: AsyncClient,
) -> None:
    assert_problem(await operator.post(INVARIANTS), 503, "temporal_unavailable")


async def test_without_temporal_the_findings_can_still_be_read(
    market: Marketplace, operator: AsyncClient
) -> None:
    await market.lose_temporal()

    assert (await operator.get(INVARIANTS)).status_code == 200
    assert_problem(await operator.post(INVARIANTS), 503, "temporal_unavailable")


async def _finished(scope: str) -> bool:
    return await ReconciliationRun.find({"scope": scope, "finished_at": {"$ne": None}}).count() > 0
