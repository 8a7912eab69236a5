"""Payments for which the bank wants the buyer: approved, refused and abandoned."""

from datetime import timedelta

from tests.market import Market, Purchase
from tests.waiting import eventually
from ticketing.models import Charge
from ticketing.statuses import CancelReason, OrderStatus, TicketStatus
from workflows.orders import PaymentDecision


async def wait_for_the_bank(market: Market, *, attempts: int = 1) -> tuple[Purchase, Charge]:
    purchase = await market.reserve(attempts=attempts)
    decision = await purchase.pay("pm_card_authenticationRequired")
    assert decision is PaymentDecision.AUTHENTICATION_REQUIRED
    (charge,) = await purchase.charges()
    assert charge.stripe_id is not None
    assert charge.client_secret is not None
    assert (await purchase.order()).status is OrderStatus.AWAITING_PAYMENT
    return purchase, charge


def intent_status(market: Market, charge: Charge) -> object:
    assert charge.stripe_id is not None
    return market.sandbox.payment_intent(charge.stripe_id)["status"]


async def test_an_approved_authentication_completes_the_order(market: Market) -> None:
    purchase, charge = await wait_for_the_bank(market)

    market.authenticate(charge, approve=True)
    await purchase.report_intent_change()

    await purchase.handle.result()
    await purchase.is_completed()
    assert intent_status(market, charge) == "succeeded"


async def test_a_refused_authentication_is_a_declined_payment(market: Market) -> None:
    purchase, charge = await wait_for_the_bank(market)

    market.authenticate(charge, approve=False)
    await purchase.report_intent_change()

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.PAYMENT_FAILED)
    assert (await purchase.charges())[0].failure_code == "payment_intent_authentication_failure"
    assert intent_status(market, charge) == "canceled"


async def test_another_card_may_follow_a_refused_authentication(market: Market) -> None:
    purchase, charge = await wait_for_the_bank(market, attempts=2)
    market.authenticate(charge, approve=False)
    await purchase.report_intent_change()
    await eventually(lambda: _is_created(purchase))

    assert await purchase.pay() is PaymentDecision.COMPLETED

    await purchase.is_completed()


async def test_an_abandoned_authentication_ends_at_the_deadline_and_cannot_be_paid_later(
    market: Market,
) -> None:
    purchase, charge = await wait_for_the_bank(market)

    await market.env.sleep(timedelta(minutes=15, seconds=1))

    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.EXPIRED)
    assert intent_status(market, charge) == "canceled"
    await market.reserve(await purchase.ticket())


async def test_an_approval_whose_news_was_lost_is_found_at_the_deadline(market: Market) -> None:
    purchase, charge = await wait_for_the_bank(market)
    market.authenticate(charge, approve=True)

    await market.env.sleep(timedelta(minutes=15, seconds=1))

    await purchase.handle.result()
    await purchase.is_completed()


async def test_a_cancelled_authentication_cancels_the_intent_before_the_ticket_is_free(
    market: Market,
) -> None:
    purchase, charge = await wait_for_the_bank(market)
    market.sandbox.set_fault("error", path="/v1/payment_intents/*/cancel", times=2)

    state = await purchase.cancel()

    assert state.cancel_reason is CancelReason.CANCELLED_BY_BUYER
    await purchase.is_cancelled(CancelReason.CANCELLED_BY_BUYER)
    assert intent_status(market, charge) == "canceled"
    assert market.sandbox.count("POST", "/v1/payment_intents/*/cancel") == 3


async def test_cancelling_after_the_approval_completes_the_order(market: Market) -> None:
    purchase, charge = await wait_for_the_bank(market)
    market.authenticate(charge, approve=True)

    state = await purchase.cancel()

    assert state.status is OrderStatus.COMPLETED
    await purchase.is_completed()


async def test_the_ticket_stays_reserved_past_the_deadline_until_stripe_has_answered(
    market: Market,
) -> None:
    purchase, charge = await wait_for_the_bank(market)
    market.sandbox.set_fault("error", times=None, status=503)

    await market.env.sleep(timedelta(hours=2))
    assert (await purchase.ticket()).status is TicketStatus.RESERVED
    assert (await purchase.order()).status is OrderStatus.AWAITING_PAYMENT

    market.sandbox.clear_faults()
    await market.env.sleep(timedelta(minutes=1))
    await purchase.handle.result()
    await purchase.is_cancelled(CancelReason.EXPIRED)
    assert intent_status(market, charge) == "canceled"


async def test_news_that_changes_nothing_leaves_the_order_waiting(market: Market) -> None:
    purchase, charge = await wait_for_the_bank(market)

    for _ in range(3):
        await purchase.report_intent_change()
    reads = market.sandbox.count("GET", "/v1/payment_intents/*")
    await eventually(lambda: _has_read_more_than(market, reads - 1))

    assert (await purchase.order()).status is OrderStatus.AWAITING_PAYMENT
    market.authenticate(charge, approve=True)
    await purchase.report_intent_change()
    await purchase.handle.result()
    await purchase.is_completed()


async def _is_created(purchase: Purchase) -> bool:
    return (await purchase.order()).status is OrderStatus.CREATED


async def _has_read_more_than(market: Market, reads: int) -> bool:
    return market.sandbox.count("GET", "/v1/payment_intents/*") > reads
