"""An operator may reset a workflow to any of its tasks, whatever has happened since.

Every recorded path is walked, the world is changed, and the workflow is reset to the end of each
of its tasks, one after the other. docs/operations.md says what comes of it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from beanie import PydanticObjectId
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowFailureError, WorkflowUpdateStage
from temporalio.service import RPCError

from activities.reservations import Reservation
from tests.market import Market, Purchase
from tests.operators.operator import Handle, Operator, market_of
from tests.purchases import careless
from tests.purchases.marketplace import Marketplace
from tests.replay.paths import PATHS, WorkflowPath, history_of
from tests.waiting import eventually
from ticketing.models import Order, Ticket
from ticketing.statuses import OrderStatus
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import PAYMENT_SUBMITTED, OrderWorkflow, PaymentSubmitted
from workflows.refunds import REFUND_CHANGED, RefundChanged, RefundWorkflow

BETWEEN_TRIES = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
SHORT_TTL = timedelta(seconds=2)
EXPIRING = {"expired", "abandoned_authentication"}
"""Paths on which time is skipped elsewhere, and has to pass here."""
WAITING_AT_STRIPE = {"refunded_after_a_short_balance"}
"""Paths on which a minute is skipped elsewhere, and Stripe's news spare it here."""


# --- what has happened since --------------------------------------------------------------


async def nothing(market: Market, order: Order) -> None:
    """Change nothing."""


async def refund(market: Market, order: Order) -> None:
    """Give the money back if there is any; the ticket is on sale again."""
    if order.status is OrderStatus.COMPLETED:
        with suppress(WorkflowFailureError):  # disputed, on one of the paths
            await (await market.refund(purchase_of(market, order), relist=True)).result()


async def resell(market: Market, order: Order) -> None:
    """Sell the ticket to somebody else, after a refund if it was sold."""
    await refund(market, order)
    ticket = await Ticket.get(order.ticket_id)
    if ticket is not None and ticket.order_id is None:
        other = await market.reserve(ticket)
        await other.pay()
        await other.handle.result()
        await other.is_completed()


async def take_ticket_away(market: Market, order: Order) -> None:
    """Delete an unsold ticket by hand."""
    await Ticket.find_one({"_id": order.ticket_id, "sold_at": None}).delete()


WorldChange = Callable[[Market, Order], Awaitable[None]]


def purchase_of(market: Market, order: Order) -> Purchase:
    assert order.id is not None
    handle = market.env.client.get_workflow_handle(order_workflow_id(str(order.id)))
    return Purchase(order.id, order.ticket_id, Reservation(), handle)


async def bring_refunds_to_an_end(market: Market, handle: Handle, order: Order) -> None:
    """Let the bank take what is on its way back, and Stripe tell of it."""
    charges = await purchase_of(market, order).charges()
    intents = [charge.stripe_id for charge in charges if charge.stripe_id]
    for intent in intents:
        for made in market.sandbox.refunds(intent):
            if made["status"] == "pending":
                market.sandbox.settle_refund(made["id"])
        if handle.id.startswith("refund:"):
            with suppress(RPCError):  # it is closed
                await handle.signal(REFUND_CHANGED, RefundChanged(intent))


async def order_of(handle: Handle) -> Order | None:
    return await Order.get(handle.id.partition(":")[2])


# --- every recorded path ------------------------------------------------------------------


SHORT = {
    ("completed", resell),
    ("declined", take_ticket_away),
    ("completed_after_authentication", resell),
    ("refunded", nothing),
}
"""One of each kind; the others are long."""

PATHS_AND_CHANGES = [
    pytest.param(path, change, marks=() if (path.__name__, change) in SHORT else pytest.mark.long)
    for path, change in [
        *product(PATHS[OrderWorkflow], [nothing, refund, resell, take_ticket_away]),
        *product(PATHS[RefundWorkflow], [nothing, take_ticket_away]),
    ]
]


@pytest.mark.timeout(600)  # up to eight tasks, each reset and brought to its end
@pytest.mark.parametrize(("path", "change"), PATHS_AND_CHANGES)
async def test_a_path_reset_to_any_task_takes_no_money_for_nothing(
    market: Market, operator: Operator, path: WorkflowPath, change: WorldChange
) -> None:
    if path.__name__ in EXPIRING:
        market = replace(market, ttl=SHORT_TTL)
    walked = await path(market)
    order = await order_of(walked.handle)
    if path.__name__ in WAITING_AT_STRIPE and order is not None:
        await market.waits_for_stripe(purchase_of(market, order))
        await walked.handle.signal(REFUND_CHANGED, RefundChanged("pi_news"))
    await history_of(walked)
    tasks = await operator.resettable_tasks(walked.handle)
    run_id = (await walked.handle.describe()).run_id
    order = await order_of(walked.handle)
    if order is not None:
        await change(market, order)

    for task in tasks:
        handle = await operator.reset(walked.handle.id, run_id, task)
        await operator.comes_to_rest(handle)
        if order is not None:
            await bring_refunds_to_an_end(market, handle, order)
        await operator.end(handle)

        await operator.nobody_paid_for_nothing()
        if order is not None and order.id is not None:
            await operator.reconcile(order.id, order.ticket_id)


def test_every_workflow_that_moves_money_has_paths_that_are_reset() -> None:
    assert PATHS.keys() == {OrderWorkflow, RefundWorkflow}


# --- a workflow that was terminated in the middle -----------------------------------------


async def waits_for_payment(market: Market) -> Purchase:
    return await market.reserve()


async def authorizes(market: Market) -> Purchase:
    """While Stripe is down."""
    return await _stands_still(market, "/v1/payment_intents", "authorize_payment")


async def captures(market: Market) -> Purchase:
    """With the money set aside."""
    return await _stands_still(market, "/v1/payment_intents/*/capture", "capture_payment")


async def waits_for_the_bank(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.pay("pm_card_authenticationRequired")
    return purchase


async def _stands_still(market: Market, path: str, step: str) -> Purchase:
    """The payment at the step that is repeated until Stripe answers, after the first try."""
    purchase = await market.reserve()
    market.sandbox.set_fault("error", method="POST", path=path, times=None)
    charge_id = await purchase.submit_payment()

    async def is_at_the_step() -> bool:
        events = (await purchase.handle.fetch_history()).events
        steps = [event.activity_task_scheduled_event_attributes for event in events]
        return step in {scheduled.activity_type.name for scheduled in steps}

    await eventually(is_at_the_step)
    # As an older API does: one more task, before which the step is in the history.
    await purchase.handle.start_update(
        OrderWorkflow.await_payment_decision,
        str(charge_id),
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
    )
    return purchase


Stage = Callable[[Market], Awaitable[Purchase]]
STAGES: list[Stage] = [waits_for_payment, authorizes, captures, waits_for_the_bank]


async def terminate(
    market: Market, operator: Operator, purchase: Purchase
) -> tuple[str, list[int]]:
    """Terminate the workflow in the middle; its run, and the tasks it can be reset to."""
    handle = operator.workflow_of(purchase.order_id)
    run_id = (await handle.describe()).run_id

    async def is_between_tries() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return all(step.state == BETWEEN_TRIES for step in pending)

    # A try that is under way goes on after the termination, and Stripe answers from then on.
    await eventually(is_between_tries)
    await handle.terminate()
    market.sandbox.clear_faults()
    return run_id, await operator.resettable_tasks(handle)


async def reconciled_and_resold(market: Market, operator: Operator, purchase: Purchase) -> None:
    await operator.reconcile(purchase.order_id, purchase.ticket_id)
    order = await purchase.order()
    assert order.status is OrderStatus.CANCELLED
    await resell(market, order)


async def freed_by_hand(_market: Market, _operator: Operator, purchase: Purchase) -> None:
    """As nobody should: the order stays open. The index keeps anybody else from the ticket."""
    await Ticket.find_one({"_id": purchase.ticket_id}).update({"$set": {"order_id": None}})


async def left_alone(_market: Market, _operator: Operator, _purchase: Purchase) -> None:
    pass


Meanwhile = Callable[[Market, Operator, Purchase], Awaitable[None]]


@pytest.mark.parametrize(
    "meanwhile",
    [
        reconciled_and_resold,
        pytest.param(freed_by_hand, marks=pytest.mark.long),
        pytest.param(left_alone, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("stage", STAGES)
async def test_a_terminated_order_that_is_reset_takes_no_money_for_nothing(
    market: Market, operator: Operator, stage: Stage, meanwhile: Meanwhile
) -> None:
    purchase = await stage(market)
    run_id, tasks = await terminate(market, operator, purchase)
    await meanwhile(market, operator, purchase)

    for task in tasks:
        handle = await operator.reset(f"order:{purchase.order_id}", run_id, task)
        await operator.end(handle)

        await operator.reconcile(purchase.order_id, purchase.ticket_id)
        await operator.nobody_paid_for_nothing()


async def test_control_steps_that_trust_history_capture_for_a_resold_ticket(
    idle_market: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless.trust_history(monkeypatch, idle_market.gateway)
    market, operator = market_of(idle_market), Operator(idle_market)
    async with idle_market.working():
        purchase = await authorizes(market)
        run_id, tasks = await terminate(market, operator, purchase)
        await reconciled_and_resold(market, operator, purchase)

        await operator.reset(f"order:{purchase.order_id}", run_id, tasks[-1])

        async def is_captured_twice() -> bool:
            return len(idle_market.captured()) == 2

        await eventually(is_captured_twice)
        with pytest.raises(AssertionError):
            await operator.nobody_paid_for_nothing()


# --- a payment that the workflow was reset to before --------------------------------------


async def test_a_reset_leaves_an_order_alone_that_may_still_be_paid(
    market: Market, operator: Operator
) -> None:
    purchase = await market.reserve(attempts=3)
    await purchase.pay("pm_card_chargeDeclined")
    await operator.comes_to_rest(purchase.handle)
    run_id = (await purchase.handle.describe()).run_id

    for task in (await operator.resettable_tasks(purchase.handle))[1:]:
        handle = await operator.reset(purchase.handle.id, run_id, task)
        await operator.comes_to_rest(handle)
        assert (await purchase.order()).status is OrderStatus.CREATED

    await market.env.client.get_workflow_handle(purchase.handle.id).signal(
        PAYMENT_SUBMITTED, PaymentSubmitted(str(PydanticObjectId()), "pm_card_visa")
    )
    await market.env.client.get_workflow_handle(purchase.handle.id).result()
    await purchase.is_completed()


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/payment_intents/*/capture"])
async def test_a_reset_to_before_a_payment_takes_it_up_again(
    market: Market, operator: Operator, path: str
) -> None:
    purchase = await market.reserve(attempts=3)
    await purchase.pay("pm_card_chargeDeclined")
    await operator.comes_to_rest(purchase.handle)
    asked_before = market.sandbox.count("POST", path)
    market.sandbox.set_fault("error", method="POST", path=path, times=None)
    await purchase.submit_payment()

    async def is_asked() -> bool:
        return market.sandbox.count("POST", path) > asked_before

    await eventually(is_asked)
    run_id = (await purchase.handle.describe()).run_id
    tasks = await operator.resettable_tasks(purchase.handle)

    handle = await operator.reset(purchase.handle.id, run_id, tasks[1])
    market.sandbox.clear_faults()

    await handle.result()
    await purchase.is_completed()
    await operator.nobody_paid_for_nothing()
