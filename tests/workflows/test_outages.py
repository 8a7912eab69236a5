"""Answers that are late, lost or missing: the ticket stays held, and nobody pays twice."""

from datetime import timedelta

import pytest

from tests.market import Market
from ticketing.statuses import CancelReason, OrderStatus, TicketStatus, TimelineCode
from workflows.orders import PaymentDecision

AUTHORIZE = "/v1/payment_intents"
CAPTURE = "/v1/payment_intents/*/capture"


@pytest.mark.parametrize("path", [AUTHORIZE, CAPTURE])
@pytest.mark.parametrize(
    "fault", ["lost_answer", "lost_request", "error", "error_stored", "rate_limited"]
)
async def test_a_fault_at_stripe_charges_the_buyer_exactly_once(
    market: Market, path: str, fault: str
) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault(fault, method="POST", path=path, times=1)

    decision = await purchase.pay()

    assert decision is PaymentDecision.COMPLETED
    await purchase.is_completed()
    captured = [i for i in market.sandbox.payment_intents() if i["amount_received"]]
    assert [intent["amount_received"] for intent in captured] == [2500]
    open_intents = {"requires_capture", "requires_action", "requires_confirmation"}
    assert not [i for i in market.sandbox.payment_intents() if i["status"] in open_intents]


async def test_an_unreachable_stripe_keeps_the_ticket_reserved_past_the_deadline(
    market: Market,
) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault("lost_request", times=None)
    await purchase.submit_payment()

    await market.env.sleep(timedelta(hours=1))
    assert (await purchase.ticket()).status is TicketStatus.RESERVED
    assert (await purchase.order()).status is OrderStatus.AWAITING_PAYMENT

    market.sandbox.clear_faults()
    await market.env.sleep(timedelta(minutes=1))
    await purchase.handle.result()
    await purchase.is_completed()


async def test_a_payment_just_before_the_deadline_is_decided_after_it(market: Market) -> None:
    purchase = await market.reserve()
    await market.env.sleep(timedelta(minutes=14, seconds=58))
    market.sandbox.set_fault("error", path=AUTHORIZE, times=6)

    await purchase.submit_payment()
    await market.env.sleep(timedelta(minutes=3))

    await purchase.handle.result()
    await purchase.is_completed()


async def test_a_decline_after_the_deadline_leaves_no_time_for_another_card(
    market: Market,
) -> None:
    purchase = await market.reserve(attempts=3)
    await market.env.sleep(timedelta(minutes=14, seconds=58))
    market.sandbox.set_fault("error", path=AUTHORIZE, times=6)

    await purchase.submit_payment("pm_card_chargeDeclined")
    await market.env.sleep(timedelta(minutes=3))

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.EXPIRED)


async def test_every_step_at_stripe_is_expected_to_beat(market: Market) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault("lost_answer", method="POST", path="/v1/payment_intents")
    await purchase.pay()
    await purchase.handle.result()

    history = await purchase.handle.fetch_history()

    steps = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert {step.activity_type.name for step in steps} == {
        "take_payment",
        "authorize_payment",
        "capture_payment",
    }
    assert all(step.heartbeat_timeout.ToTimedelta() for step in steps)


CANCEL = "/v1/payment_intents/*/cancel"


async def test_a_no_that_stripe_stored_under_a_captures_key_is_moved_on_from(
    market: Market,
) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault("refused", method="POST", path=CAPTURE)

    assert await purchase.pay() is PaymentDecision.COMPLETED

    await purchase.is_completed()
    assert market.sandbox.count("POST", CAPTURE) == 3  # the no, the same again, and another key


async def test_a_no_that_stays_gives_the_payment_up_and_releases_the_ticket(
    market: Market,
) -> None:
    purchase = await market.reserve()
    market.sandbox.set_fault("refused", method="POST", path=CAPTURE, times=None)
    await purchase.submit_payment()
    await market.env.sleep(timedelta(minutes=1))

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.PAYMENT_FAILED)
    assert (TimelineCode.PAYMENT_FAILED, "invalid_request") in await purchase.timeline_of()
    assert not [i for i in market.sandbox.payment_intents() if i["amount_received"]]
    again = await market.reserve(await purchase.ticket())
    market.sandbox.clear_faults()
    assert await again.pay() is PaymentDecision.COMPLETED


async def test_a_ticket_stays_held_while_an_intent_may_still_be_captured(market: Market) -> None:
    """Stripe refuses both, and a try that was frozen on its way may yet be heard."""
    purchase = await market.reserve()
    for path in (CAPTURE, CANCEL):
        market.sandbox.set_fault("refused", method="POST", path=path, times=None)
    await purchase.submit_payment()
    await market.env.sleep(timedelta(minutes=30))
    assert (await purchase.ticket()).order_id == purchase.order_id

    market.sandbox.clear_faults()
    market.sandbox.set_fault("refused", method="POST", path=CAPTURE, times=None)
    await market.env.sleep(timedelta(minutes=2))

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.PAYMENT_FAILED)


async def test_a_no_to_giving_a_payment_up_does_not_keep_the_ticket(market: Market) -> None:
    purchase = await market.reserve()
    await purchase.pay("pm_card_authenticationRequired")
    market.sandbox.set_fault("refused", method="POST", path=CANCEL, times=None)

    await market.env.sleep(timedelta(minutes=20))

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.EXPIRED)
