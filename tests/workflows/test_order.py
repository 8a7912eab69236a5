"""The states of an order and what moves it from one to the next, with time skipped."""

from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from tests.market import Market, Purchase
from tests.waiting import eventually
from ticketing.models import Order
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus, TicketStatus
from workflows.orders import (
    PAYMENT_INTENT_CHANGED,
    OrderWorkflow,
    PaymentDecision,
    PaymentIntentChanged,
)
from workflows.search_attributes import PAYMENT_INTENT_ID


async def refusal_of_cancel(purchase: Purchase) -> str | None:
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await purchase.cancel()
    assert isinstance(refused.value.cause, ApplicationError)
    return refused.value.cause.type


async def test_a_paid_order_is_completed(market: Market) -> None:
    purchase = await market.reserve()

    assert await purchase.pay() is PaymentDecision.COMPLETED

    await purchase.is_completed()
    (intent,) = market.sandbox.payment_intents()
    assert (intent["status"], intent["amount_received"]) == ("succeeded", 2500)
    assert intent["metadata"] == {"order_id": str(purchase.order_id), "attempt": "1"}
    assert intent["capture_method"] == "manual"


async def test_an_unpaid_order_expires_and_gives_the_ticket_back(market: Market) -> None:
    purchase = await market.reserve()

    await market.env.sleep(timedelta(minutes=14, seconds=59))
    assert (await purchase.ticket()).status is TicketStatus.RESERVED
    assert (await purchase.order()).status is OrderStatus.CREATED
    await market.is_refused(await purchase.ticket(), ProblemCode.TICKET_RESERVED)

    await market.env.sleep(timedelta(seconds=2))
    assert (await purchase.handle.result()).status is OrderStatus.CANCELLED
    await purchase.is_cancelled(CancelReason.EXPIRED)
    assert (await purchase.ticket()).status is TicketStatus.AVAILABLE
    await market.reserve(await purchase.ticket())


async def test_the_order_keeps_what_the_ticket_was_when_it_was_reserved(market: Market) -> None:
    ticket = await market.list_ticket(price=12_345)

    purchase = await market.reserve(ticket)

    order = await purchase.order()
    assert (order.ticket.title, order.ticket.price) == (ticket.title, 12_345)
    assert order.seller_id == ticket.user_id
    assert order.expires_at - order.created_at == timedelta(minutes=15)
    assert purchase.reservation.price == 12_345


@pytest.mark.parametrize("state", ["reserved", "sold", "withdrawn", "own"])
async def test_a_refused_reservation_ends_the_workflow_at_once(market: Market, state: str) -> None:
    ticket = await market.list_ticket()
    buyer_id = None
    if state in ("reserved", "sold"):
        holder = await market.reserve(ticket)
        if state == "sold":
            await holder.pay()
    elif state == "withdrawn":
        await ticket.delete()
    else:
        buyer_id = ticket.user_id

    refused = await market.ask_for(ticket, buyer_id=buyer_id)

    assert (
        refused.reservation.refusal
        == {
            "reserved": ProblemCode.TICKET_RESERVED,
            "sold": ProblemCode.TICKET_SOLD,
            "withdrawn": ProblemCode.TICKET_NOT_FOUND,
            "own": ProblemCode.OWN_TICKET,
        }[state]
    )
    result = await refused.handle.result()
    assert (result.status, result.refusal) == (None, refused.reservation.refusal)
    assert await Order.get(refused.order_id) is None


async def test_a_buyer_cancels_an_unpaid_order(market: Market) -> None:
    purchase = await market.reserve()

    state = await purchase.cancel()

    assert state.cancel_reason is CancelReason.CANCELLED_BY_BUYER
    await purchase.is_cancelled(CancelReason.CANCELLED_BY_BUYER)
    await market.reserve(await purchase.ticket())


async def test_an_operator_cancels_an_unpaid_order_with_temporals_own_tools(
    market: Market,
) -> None:
    purchase = await market.reserve()

    await purchase.handle.cancel()

    assert (await purchase.handle.result()).cancel_reason is CancelReason.CANCELLED_BY_OPERATOR
    await purchase.is_cancelled(CancelReason.CANCELLED_BY_OPERATOR)


@pytest.mark.parametrize(
    ("card", "failure_code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_unheard_of", "resource_missing"),
    ],
)
async def test_a_declined_payment_cancels_an_order_without_another_attempt(
    market: Market, card: str, failure_code: str
) -> None:
    purchase = await market.reserve(attempts=1)

    assert await purchase.pay(card) is PaymentDecision.DECLINED

    await purchase.is_cancelled(CancelReason.PAYMENT_FAILED)
    (charge,) = await purchase.charges()
    assert charge.failure_code == failure_code
    assert all(intent["status"] == "canceled" for intent in market.sandbox.payment_intents())
    await market.reserve(await purchase.ticket())


async def test_a_second_card_pays_after_a_decline_under_a_key_of_its_own(market: Market) -> None:
    purchase = await market.reserve(attempts=2)

    assert await purchase.pay("pm_card_chargeDeclined") is PaymentDecision.DECLINED
    assert (await purchase.order()).status is OrderStatus.CREATED
    assert (await purchase.ticket()).status is TicketStatus.RESERVED
    assert await purchase.pay("pm_card_mastercard") is PaymentDecision.COMPLETED

    await purchase.is_completed()
    assert [charge.status for charge in await purchase.charges()] == [
        ChargeStatus.FAILED,
        ChargeStatus.COMPLETED,
    ]
    assert {intent["status"] for intent in market.sandbox.payment_intents()} == {
        "canceled",
        "succeeded",
    }


async def test_the_deadline_stays_where_it_was_after_a_decline(market: Market) -> None:
    purchase = await market.reserve(attempts=2)
    await market.env.sleep(timedelta(minutes=10))
    await purchase.pay("pm_card_chargeDeclined")

    await market.env.sleep(timedelta(minutes=4, seconds=58))
    assert (await purchase.order()).status is OrderStatus.CREATED
    await market.env.sleep(timedelta(seconds=3))

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.EXPIRED)


async def test_nothing_moves_a_closed_order(market: Market) -> None:
    completed = await market.reserve()
    await completed.pay()
    cancelled = await market.reserve()
    await cancelled.cancel()

    for purchase in (completed, cancelled):
        await purchase.handle.result()
        for request in (
            purchase.submit_payment(),
            purchase.cancel(),
            purchase.handle.signal(PAYMENT_INTENT_CHANGED, PaymentIntentChanged("pi_1")),
        ):
            with pytest.raises(RPCError) as gone:
                await request
            assert gone.value.status is RPCStatusCode.NOT_FOUND
    await completed.is_completed()
    await cancelled.is_cancelled(CancelReason.CANCELLED_BY_BUYER)


async def test_the_state_says_what_an_order_waits_for(market: Market) -> None:
    purchase = await market.reserve()
    waiting = await purchase.handle.query(OrderWorkflow.state)
    assert (waiting.status, waiting.waits_for) == (OrderStatus.CREATED, "the buyer to pay")

    await purchase.pay()
    closed = await purchase.handle.query(OrderWorkflow.state)
    assert (closed.status, closed.waits_for, closed.attempts_made) == (
        OrderStatus.COMPLETED,
        "nothing",
        1,
    )


async def test_a_decision_about_a_payment_that_nobody_submitted_is_refused(
    market: Market,
) -> None:
    purchase = await market.reserve()

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await purchase.decision(PydanticObjectId())

    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "payment_not_found"


async def test_a_payment_that_is_signalled_twice_counts_once(market: Market) -> None:
    purchase = await market.reserve(attempts=3)
    charge_id = await purchase.submit_payment("pm_card_chargeDeclined")
    assert await purchase.decision(charge_id) is PaymentDecision.DECLINED

    await purchase.submit_payment("pm_card_chargeDeclined", charge_id=charge_id)

    assert await purchase.pay() is PaymentDecision.COMPLETED
    assert len(await purchase.charges()) == 2


async def test_a_second_payment_is_refused_while_one_is_decided(market: Market) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault("held", path="/v1/payment_intents")

    first = await purchase.submit_payment()
    second = await purchase.submit_payment("pm_card_mastercard")

    assert await purchase.decision(second) is PaymentDecision.REFUSED
    assert await refusal_of_cancel(purchase) == "payment_in_progress"
    market.sandbox.clear_faults()
    assert await purchase.decision(first) is PaymentDecision.COMPLETED
    await purchase.is_completed()
    assert len(market.sandbox.payment_intents()) == 1


async def test_an_operators_cancellation_waits_for_a_payment_that_is_being_decided(
    market: Market,
) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    charge_id = await purchase.submit_payment()
    await eventually(lambda: _is_asking_stripe(market))

    await purchase.handle.cancel()
    await eventually(lambda: _has_heard_of_the_cancellation(purchase))
    market.sandbox.clear_faults()

    assert await purchase.decision(charge_id) is PaymentDecision.COMPLETED
    await purchase.is_completed()


async def _is_asking_stripe(market: Market) -> bool:
    return market.sandbox.count("POST", "/v1/payment_intents") > 0


async def _has_heard_of_the_cancellation(purchase: Purchase) -> bool:
    """Whether a worker has finished a task that told the workflow."""
    events = [event.event_type for event in (await purchase.handle.fetch_history()).events]
    asked = events.index(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
    return EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in events[asked:]


async def test_a_ticket_too_many_is_refused_until_one_of_the_others_has_expired(
    market: Market,
) -> None:
    buyer_id = PydanticObjectId()
    first = await market.ask_for(await market.list_ticket(), buyer_id=buyer_id, max_reservations=1)
    ticket = await market.list_ticket()

    refused = await market.ask_for(ticket, buyer_id=buyer_id, max_reservations=1)
    assert refused.reservation.refusal is ProblemCode.TOO_MANY_RESERVATIONS
    assert (await refused.handle.result()).status is None
    assert (await market.look_at(ticket)).status is TicketStatus.AVAILABLE

    await market.env.sleep(timedelta(minutes=16))
    await first.is_cancelled(CancelReason.EXPIRED)
    granted = await market.ask_for(ticket, buyer_id=buyer_id, max_reservations=1)
    assert granted.reservation.refusal is None


async def test_an_order_is_found_by_the_payment_intent_of_its_latest_payment(
    market: Market,
) -> None:
    purchase = await market.reserve(attempts=2)
    assert await found_by(purchase) is None

    for card in ("pm_card_chargeDeclined", "pm_card_visa"):
        await purchase.pay(card)
        assert await found_by(purchase) == (await purchase.charges())[-1].stripe_id


async def found_by(purchase: Purchase) -> str | None:
    attributes = (await purchase.handle.describe()).typed_search_attributes
    return attributes.get(PAYMENT_INTENT_ID)
