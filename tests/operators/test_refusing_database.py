"""A MongoDB that refuses writes at once: each step ends up where an operator sees it.

A full disk, a revoked role or a validator answers within a millisecond, which is no outage that
a time limit ends.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from beanie import Document

from tests.api.conftest import assert_problem
from tests.databases import refusing
from tests.market import Market, Purchase
from tests.operators.operator import Handle, Operator, market_of
from tests.purchases.marketplace import Marketplace, Person
from tests.replay.paths import locked
from tests.waiting import eventually
from ticketing.models import Charge, Order, Ticket
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import OrderStatus, TicketStatus
from workflows import orders as order_workflow
from workflows import steps

AUTHORIZE = "/v1/payment_intents"
CAPTURE = "/v1/payment_intents/*/capture"


async def pending(handle: Handle) -> set[str]:
    """The steps that an operator sees waiting for another try."""
    found = await handle.describe()
    activities = found.raw_description.pending_activities
    return {step.activity_type.name for step in activities if step.attempt > 1}


async def sees(handle: Handle, step: str) -> None:
    async def is_pending() -> bool:
        return step in await pending(handle)

    await eventually(is_pending, timeout=60)


async def started_for(marketplace: Marketplace, ticket_id: str) -> list[str]:
    """The workflows that somebody started for the ticket, once they are listed."""
    query = f"TicketId = '{ticket_id}'"
    return [found.id async for found in marketplace.temporal.list_workflows(query)]


async def test_a_refused_reservation_holds_nothing_then_or_later(
    marketplace: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    async with refusing(Order):
        assert_problem(await buyer.ask_for(ticket), 503, "temporal_unavailable")
        (id,) = await eventually(partial(started_for, marketplace, ticket["id"]))
        handle: Handle = marketplace.temporal.get_workflow_handle(id)
        await sees(handle, "abandon_reservation")

    result = await handle.result()

    assert result["refusal"] == ProblemCode.TEMPORAL_UNAVAILABLE
    found = await Ticket.get(ticket["id"])
    assert found is not None
    assert found.status is TicketStatus.AVAILABLE
    assert not await Order.find({"status": OrderStatus.CREATED}).to_list()
    assert (await buyer.ask_for(ticket)).status_code == 201


Act = Callable[[Market], Awaitable[Purchase]]


async def has_reserved(market: Market) -> Purchase:
    return await market.reserve()


async def waits_for_authorization(market: Market) -> Purchase:
    return await _held(market, AUTHORIZE)


async def waits_for_decline(market: Market) -> Purchase:
    return await _held(market, AUTHORIZE, "pm_card_chargeDeclined")


async def waits_for_capture(market: Market) -> Purchase:
    return await _held(market, CAPTURE)


async def _held(market: Market, path: str, card: str = "pm_card_visa") -> Purchase:
    """A purchase for which Stripe is being asked, and has not answered."""
    purchase = await market.reserve(attempts=2)
    market.sandbox.set_fault("held", method="POST", path=path)
    await purchase.submit_payment(card)

    async def is_asked() -> bool:
        return market.sandbox.count("POST", path) > 0

    await eventually(is_asked)
    return purchase


async def pay(_market: Market, purchase: Purchase) -> None:
    await purchase.submit_payment()


async def let_stripe_answer(market: Market, _purchase: Purchase) -> None:
    market.sandbox.clear_faults()


async def cancel(_market: Market, purchase: Purchase) -> None:
    await purchase.handle.cancel()


COMPLETED, CREATED, CANCELLED = OrderStatus.COMPLETED, OrderStatus.CREATED, OrderStatus.CANCELLED


@pytest.mark.parametrize(
    ("stage", "act", "model", "step", "end"),
    [
        (has_reserved, pay, Charge, "begin_payment", COMPLETED),
        (has_reserved, pay, Order, "begin_payment", COMPLETED),
        (waits_for_authorization, let_stripe_answer, Charge, "authorize_payment", COMPLETED),
        (waits_for_capture, let_stripe_answer, Ticket, "complete_order", COMPLETED),
        (waits_for_capture, let_stripe_answer, Order, "complete_order", COMPLETED),
        (waits_for_capture, let_stripe_answer, Charge, "complete_order", COMPLETED),
        (waits_for_decline, let_stripe_answer, Order, "fail_payment", CREATED),
        (has_reserved, cancel, Order, "cancel_order", CANCELLED),
        (has_reserved, cancel, Ticket, "cancel_order", CANCELLED),
    ],
)
async def test_a_refused_step_waits_where_it_is_seen_and_then_goes_on(
    market: Market,
    operator: Operator,
    stage: Act,
    act: Callable[[Market, Purchase], Awaitable[None]],
    model: type[Document],
    step: str,
    end: OrderStatus,
) -> None:
    purchase = await stage(market)
    async with refusing(model):
        await act(market, purchase)
        await sees(purchase.handle, step)

    async def is_at_its_end() -> bool:
        return (await purchase.order()).status is end

    await eventually(is_at_its_end)
    await operator.end(purchase.handle)
    await operator.nobody_paid_for_nothing()
    await operator.reconcile(purchase.order_id, purchase.ticket_id)


async def test_a_refund_that_cannot_be_recorded_is_seen_and_made_once(
    market: Market, operator: Operator
) -> None:
    purchase = await market.sell()
    async with refusing(Order):
        refund = await market.refund(purchase)
        await sees(refund, "tell_order")

    await purchase.is_refunded((await refund.result()).refund_id)
    await operator.nobody_paid_for_nothing()


@pytest.mark.long
async def test_control_a_bound_in_time_alone_keeps_a_refused_step_out_of_sight(
    idle_market: Marketplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "LOCAL_RETRIES", steps.DATABASE_RETRIES)
    market = market_of(idle_market)
    async with idle_market.working():
        purchase = await market.reserve()
        async with refusing(Charge):
            await purchase.submit_payment()

            def is_tried_long_after_its_time() -> bool:
                tries = [r for r in caplog.records if "'begin_payment'" in r.getMessage()]
                return len(tries) > 8  # at about 11 s, of 5 that it was given

            await eventually(is_tried_long_after_its_time, timeout=60)
            assert await pending(purchase.handle) == set()
        await purchase.handle.result()


async def test_a_reservation_that_comes_too_late_is_not_made(
    market: Market, operator: Operator
) -> None:
    """Its try spans the time that was left: the check is part of the transaction."""
    ticket = await market.list_ticket()
    async with locked(ticket):
        asking = asyncio.create_task(market.ask_for(ticket))
        await asyncio.wait([asking], timeout=order_workflow.RESERVE_TIMEOUT.total_seconds() + 1)

    purchase = await asking

    assert purchase.reservation.refusal is ProblemCode.TEMPORAL_UNAVAILABLE
    assert (await market.look_at(ticket)).status is TicketStatus.AVAILABLE


async def test_a_request_whose_write_is_refused_is_answered_503_and_tells_no_document(
    seller: Person, caplog: pytest.LogCaptureFixture
) -> None:
    async with refusing(Ticket):
        listing = {"title": "Behind the pillar", "price": 5000}
        answer = await seller.http.post("/api/tickets", json=listing)

    assert_problem(answer, 503, "mongodb_unavailable")
    assert "code 121" in caplog.text
    assert "Behind the pillar" not in caplog.text
