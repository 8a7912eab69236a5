"""How the check itself runs: in pages, over a busy market, by schedule, and alone."""

import asyncio
import logging
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from beanie import PydanticObjectId
from temporalio.client import ScheduleOverlapPolicy

from activities.reconciliation.activities import ORDER_WORKFLOW
from activities.reconciliation.snapshots import SnapshotReader
from tests.purchases.marketplace import Marketplace, Person
from tests.reconciliation.auditor import Auditor
from tests.replay.test_replay import replay
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.invariants import Scope, ViolationCode, order_violations
from ticketing.models import (
    Charge,
    Order,
    ReconciliationRun,
    Ticket,
    ViolationRecord,
    ViolationStatus,
)
from ticketing.models.ticket import RESERVED
from ticketing.payments.intents import IntentStatus
from ticketing.statuses import UNPAID_STATUSES
from ticketing.workflow_ids import order_workflow_id
from workflows import reconciliation
from workflows.reconciliation_schedules import (
    reconciliation_schedule_id,
    schedule_reconciliation,
    trigger_reconciliation,
)

CROWD = 30
BRIEFLY = timedelta(milliseconds=500)


@pytest.mark.long
async def test_a_busy_market_raises_no_alarm(
    auditor: Auditor, market: Marketplace, seller: Person
) -> None:
    crowd = market.crowd(CROWD)
    tickets = [await seller.list_ticket() for _ in crowd]

    async def shop(number: int) -> None:
        person, ticket = crowd[number], tickets[number]
        order = (await person.ask_for(ticket)).json()
        match number % 5:
            case 0:
                await person.cancel(order)
            case 1:
                await person.pay(order, "pm_card_chargeDeclined")
            case 2:
                charge = await person.pay_through_the_bank(order)
                market.sandbox.authenticate(charge["stripeId"], approve=number % 2 == 0)
            case 3:
                await person.pay_through_the_bank(order)
            case _:
                await person.pay(order)

    shopping = asyncio.gather(*(shop(number) for number in range(CROWD)))
    runs = 0
    while not shopping.done() or runs < 2:
        scope = Scope.FULL if runs % 2 else Scope.RECENT
        run = await auditor.check(scope, page_size=7)
        assert (run.reported, run.repaired, run.unexamined) == (0, 0, 0)
        runs += 1
    await shopping

    assert await auditor.found() == {}
    await market.is_consistent()


@pytest.mark.long
async def test_a_check_goes_on_where_its_history_ended(
    auditor: Auditor, market: Marketplace, seller: Person, buyer: Person
) -> None:
    for _ in range(3):
        order = await buyer.reserve(await seller.list_ticket())
        await buyer.buy(order)
    for _ in range(2):
        await auditor.tamper_with_ticket(await seller.list_ticket(), order_id=PydanticObjectId())

    handle = await auditor.begin(Scope.FULL, page_size=2, pages_per_history=1)
    run = await handle.result()

    assert (run.tickets, run.orders, run.intents) == (5, 3, 3)
    assert (run.reported, run.repaired) == (0, 2)
    first = market.temporal.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    assert (
        (await first.fetch_history())
        .events[-1]
        .HasField("workflow_execution_continued_as_new_event_attributes")
    )
    (kept,) = await ReconciliationRun.find_all().to_list()
    assert (kept.id, kept.scope) == (handle.first_execution_run_id, Scope.FULL)
    assert kept.finished_at is not None
    assert (kept.checked.tickets, kept.checked.orders, kept.repaired) == (5, 3, 2)


async def test_a_check_can_be_replayed_and_its_history_names_nobody(
    auditor: Auditor, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.pay_through_the_bank(order)
    await auditor.tamper_with_ticket(await seller.list_ticket(), order_id=PydanticObjectId())

    handle = await auditor.begin()
    await handle.result()
    history = await handle.fetch_history()

    await replay(history)
    assert await buyer.email() not in history.to_json()
    assert "_secret_" not in history.to_json()


async def test_a_violation_is_logged_once_and_kept_while_it_lasts(
    auditor: Auditor, seller: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "holdfast.reconciliation")
    ticket = await seller.list_ticket()
    await auditor.tamper_with_ticket(ticket, order_id=PydanticObjectId())
    await auditor.check()
    await auditor.authorize(str(PydanticObjectId()))
    await auditor.check()
    first = await ViolationRecord.find_one({"status": ViolationStatus.OPEN})
    await auditor.check()

    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "holdfast" in r.name]
    assert [(level, text[:14]) for level, text in lines] == [
        ("INFO", "repaired I3 lo"),
        ("WARNING", "reported I5 au"),
    ]
    again = await ViolationRecord.find_one({"status": ViolationStatus.OPEN})
    assert first is not None
    assert again is not None
    assert (again.id, again.found_at) == (first.id, first.found_at)
    assert again.last_seen_at > first.last_seen_at


async def test_what_stripe_does_not_answer_is_asked_again(
    auditor: Auditor, market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await market.terminate(order)
    market.sandbox.set_fault("error", path="/v1/payment_intents", times=2, status=503)

    await auditor.repairs(ViolationCode.OPEN_ORDER_WITHOUT_WORKFLOW)


async def test_a_source_that_does_not_answer_holds_nobody_else_up(
    auditor: Auditor, market: Marketplace, seller: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE_DEADLINE", BRIEFLY)
    await auditor.tamper_with_ticket(await seller.list_ticket(), order_id=PydanticObjectId())
    market.sandbox.set_fault("error", path="/v1/payment_intents", times=None, status=503)

    run = await auditor.check()

    assert (run.repaired, run.unexamined) == (1, 1)
    assert run.finished_at is not None


async def test_a_workflow_that_no_order_could_have_started_hides_none_of_the_others(
    auditor: Auditor, market: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Web UI offers to start a workflow like another one, and makes up an id."""
    monkeypatch.setattr(reconciliation, "PAGE_DEADLINE", BRIEFLY)
    handle = await market.temporal.start_workflow(
        ORDER_WORKFLOW,
        id=str(uuid4()),
        task_queue=market.settings.task_queue,
        start_delay=timedelta(hours=1),
    )

    async def listed() -> int:
        return (await market.temporal.count_workflows(f"WorkflowId = '{handle.id}'")).count

    await eventually(listed)

    run = await auditor.check()

    await handle.terminate()
    assert (run.workflows, run.unexamined) == (1, 0)


async def test_everybodys_payments_are_read_only_where_something_is_wrong(
    auditor: Auditor, market: Marketplace, seller: Person, buyer: Person
) -> None:
    """Most candidates were only changing, and a busy market has many."""
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)
    await market.temporal.get_workflow_handle(order_workflow_id(order["id"])).result()
    snapshots = SnapshotReader(market.mongo, market.gateway, market.temporal)

    snapshot = await snapshots.order_snapshot(order["id"], ())
    assert order_violations(snapshot) == []
    assert [intent.status for intent in snapshot.intents or ()] == [IntentStatus.SUCCEEDED]
    assert market.sandbox.count("GET", "/v1/payment_intents") == 0

    await Charge.find_all().delete()
    snapshot = await snapshots.order_snapshot(order["id"], ())
    assert ViolationCode.COMPLETED_WITHOUT_CHARGE in {a.code for a in order_violations(snapshot)}
    assert [intent.status for intent in snapshot.intents or ()] == [IntentStatus.SUCCEEDED]
    assert market.sandbox.count("GET", "/v1/payment_intents") == 1


async def test_a_candidate_that_cannot_be_examined_waits_for_the_next_run(
    auditor: Auditor,
    market: Marketplace,
    seller: Person,
    buyer: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciliation, "EXAMINATION_DEADLINE", BRIEFLY)
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    await auditor.tamper_with_ticket(await seller.list_ticket(), order_id=PydanticObjectId())
    market.sandbox.set_fault("error", path="/v1/payment_intents/*", times=None, status=503)

    run = await auditor.check()
    assert (run.repaired, run.unexamined) == (1, 1)

    market.sandbox.clear_faults()
    run = await auditor.check()
    assert (run.repaired, run.unexamined) == (1, 0)


async def test_many_workers_schedule_one_check_each_way(market: Marketplace) -> None:
    queue = market.settings.task_queue
    await asyncio.gather(*(schedule_reconciliation(market.temporal, queue) for _ in range(5)))

    for scope, seconds in ((Scope.RECENT, 300), (Scope.FULL, 86_400)):
        handle = market.temporal.get_schedule_handle(reconciliation_schedule_id(queue, scope))
        schedule = (await handle.describe()).schedule
        assert [i.every.total_seconds() for i in schedule.spec.intervals] == [seconds]
        assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
        await handle.delete()


async def test_a_schedule_that_an_operator_has_paused_stays_so(market: Marketplace) -> None:
    queue = market.settings.task_queue
    await schedule_reconciliation(market.temporal, queue)
    id = reconciliation_schedule_id(queue, Scope.RECENT)
    handle = market.temporal.get_schedule_handle(id)
    await handle.pause(note="looking into something")

    await schedule_reconciliation(market.temporal, queue)

    state = (await handle.describe()).schedule.state
    assert (state.paused, state.note) == (True, "looking into something")


async def test_a_triggered_check_runs_after_the_one_that_runs(market: Marketplace) -> None:
    queue = market.settings.task_queue
    await schedule_reconciliation(market.temporal, queue)

    for _ in range(4):
        await trigger_reconciliation(market.temporal, queue, Scope.RECENT)
    await eventually(lambda: _finished_runs_are_at_least(1))

    handle = market.temporal.get_schedule_handle(reconciliation_schedule_id(queue, Scope.RECENT))
    await eventually(lambda: _is_idle(handle))
    runs = await ReconciliationRun.find_all().sort("started_at").to_list()
    for before, after in pairwise(runs):
        assert before.finished_at is not None
        assert before.finished_at <= after.started_at


async def _finished_runs_are_at_least(number: int) -> bool:
    return await ReconciliationRun.find({"finished_at": {"$ne": None}}).count() >= number


async def _is_idle(handle: Any) -> bool:
    return not (await handle.describe()).info.running_actions


@pytest.mark.parametrize(
    ("model", "where", "index"),
    [
        (Ticket, RESERVED, "reserved_newest_first"),
        (Ticket, {}, "newest_first"),
        (Order, {}, "newest_first"),
        (Order, {"status": {"$in": [str(s) for s in UNPAID_STATUSES]}}, "open_newest_first"),
        (ViolationRecord, {"status": "open"}, "by_status_newest_first"),
    ],
)
async def test_every_page_follows_an_index(
    market: Marketplace, model: Any, where: dict[str, Any], index: str
) -> None:
    field = "found_at" if model is ViolationRecord else "created_at"
    collection = model.get_pymongo_collection()
    # So much that did not match, that looking through it would be the slower way.
    await collection.insert_many(
        {field: utc_now(), "status": "cancelled", "key": number, "ticket_id": number}
        for number in range(300)
    )
    query = collection.find({"$and": [where]}).sort([(field, -1), ("_id", -1)])
    plan = await query.limit(100).explain()
    await collection.delete_many({})

    stages = list(_stages(plan["queryPlanner"]["winningPlan"]))
    assert index in [stage.get("indexName") for stage in stages]
    assert not {"SORT", "COLLSCAN"} & {stage["stage"] for stage in stages}


def _stages(plan: dict[str, Any]) -> Any:
    yield plan
    if "inputStage" in plan:
        yield from _stages(plan["inputStage"])
