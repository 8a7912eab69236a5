"""A refund on a clock that can be skipped: for as long as it takes, and exactly once."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from activities.refunds import AddTimelineEntry, RefundActivities
from tests.market import Market, Purchase, RefundHandle
from tests.waiting import eventually
from ticketing.models import Ticket
from ticketing.statuses import CancelReason, OrderStatus, TicketStatus, TimelineCode
from workflows import refunds as refund_workflow

REFUNDS = "/v1/refunds"
PENDING_CARD = "pm_card_pendingRefund"
BACK_AT_US = "expired_or_canceled_card"

REQUESTED = (TimelineCode.REFUND_REQUESTED, None)
CANCELLED = (TimelineCode.ORDER_CANCELLED, CancelReason.REFUNDED)


async def failure_of(refund: RefundHandle) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await refund.result()
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause


async def told_of_the_refund(purchase: Purchase) -> list[tuple[TimelineCode, str | None]]:
    return (await purchase.timeline_of())[3:]  # reserved, submitted and completed come before


async def test_a_refunded_ticket_is_withdrawn(market: Market) -> None:
    purchase = await market.sell()

    recorded = await (await market.refund(purchase)).result()

    await purchase.is_refunded(recorded.refund_id)
    assert await Ticket.get(purchase.ticket_id) is None
    assert await told_of_the_refund(purchase) == [REQUESTED, CANCELLED]


async def test_a_relisted_ticket_can_be_sold_again(market: Market) -> None:
    purchase = await market.sell()

    await (await market.refund(purchase, relist=True)).result()

    ticket = await purchase.ticket()
    assert (ticket.status, ticket.sold_at) == (TicketStatus.AVAILABLE, None)
    again = await market.reserve(ticket)
    await again.pay()
    await again.is_completed()


@pytest.mark.parametrize("path", [REFUNDS, "/v1/payment_intents/*"])
@pytest.mark.parametrize(
    "fault", ["lost_answer", "lost_request", "error", "error_stored", "rate_limited"]
)
async def test_a_fault_at_stripe_gives_the_money_back_exactly_once(
    market: Market, path: str, fault: str
) -> None:
    purchase = await market.sell()
    market.sandbox.set_fault(fault, path=path, times=3)

    recorded = await (await market.refund(purchase)).result()

    await purchase.is_refunded(recorded.refund_id)
    assert [refund["amount"] for refund in await market.refunds_of(purchase)] == [2500]


async def test_a_refund_outlives_an_hour_without_stripe(market: Market) -> None:
    purchase = await market.sell()
    market.sandbox.set_fault("lost_request", times=None)
    refund = await market.refund(purchase)

    await market.env.sleep(timedelta(hours=1))
    await purchase.is_completed()

    market.sandbox.clear_faults()
    recorded = await refund.result()
    await purchase.is_refunded(recorded.refund_id)
    assert len(await market.refunds_of(purchase)) == 1


async def test_a_short_balance_delays_a_refund_and_is_told_once(market: Market) -> None:
    purchase = await market.sell()
    market.sandbox.set_fault("balance_short", method="POST", path=REFUNDS, times=None)
    refund = await market.refund(purchase)

    await market.env.sleep(timedelta(days=1))

    await purchase.is_completed()
    delayed = (TimelineCode.REFUND_DELAYED, "balance_insufficient")
    assert await told_of_the_refund(purchase) == [REQUESTED, delayed]
    # Each try asks under a key of its own: Stripe repeats its no to an old one for a day.
    assert 20 <= market.sandbox.count("POST", REFUNDS) <= 70
    market.sandbox.clear_faults()
    recorded = await refund.result()
    await purchase.is_refunded(recorded.refund_id)
    assert await told_of_the_refund(purchase) == [REQUESTED, delayed, CANCELLED]


async def test_a_delayed_refund_starts_its_history_anew_and_forgets_nothing(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refund_workflow, "DELAYS_PER_RUN", 3)
    purchase = await market.sell()
    market.sandbox.set_fault("balance_short", method="POST", path=REFUNDS, times=None)
    refund = await market.refund(purchase, relist=True)

    await market.env.sleep(timedelta(hours=12))
    market.sandbox.clear_faults()

    recorded = await refund.result()
    await purchase.is_refunded(recorded.refund_id)
    assert (await purchase.ticket()).status is TicketStatus.AVAILABLE
    codes = [code for code, _ in await told_of_the_refund(purchase)]
    assert codes == [
        TimelineCode.REFUND_REQUESTED,
        TimelineCode.REFUND_DELAYED,
        TimelineCode.ORDER_CANCELLED,
    ]
    latest = await market.env.client.get_workflow_handle(refund.id).describe()
    assert latest.run_id != refund.first_execution_run_id


async def test_news_of_stripe_end_the_waiting(market: Market) -> None:
    purchase = await market.sell(PENDING_CARD)
    await market.refund(purchase)
    await market.waits_for_stripe(purchase)
    (pending,) = await market.refunds_of(purchase)
    market.sandbox.settle_refund(pending["id"])
    before = await market.env.get_current_time()

    refund = await market.report_refund_change(purchase)

    async def is_cancelled() -> bool:
        return (await purchase.order()).status is OrderStatus.CANCELLED

    await eventually(is_cancelled)
    assert await market.env.get_current_time() - before < refund_workflow.FIRST_DELAY
    await purchase.is_refunded((await refund.result()).refund_id)
    assert market.sandbox.count("POST", REFUNDS) == 1


async def test_a_pending_refund_is_believed_without_news_of_it(market: Market) -> None:
    purchase = await market.sell(PENDING_CARD)
    refund = await market.refund(purchase)
    await market.waits_for_stripe(purchase)
    (pending,) = await market.refunds_of(purchase)
    market.sandbox.settle_refund(pending["id"])

    await market.env.sleep(timedelta(hours=1))

    await purchase.is_refunded((await refund.result()).refund_id)


async def test_a_refund_that_fails_leaves_the_order_completed_and_may_be_asked_for_again(
    market: Market,
) -> None:
    purchase = await market.sell(PENDING_CARD)
    refund = await market.refund(purchase)
    await market.waits_for_stripe(purchase)
    (first,) = await market.refunds_of(purchase)
    market.sandbox.settle_refund(first["id"], succeeds=False)
    await market.report_refund_change(purchase)

    failure = await failure_of(refund)

    assert (failure.type, failure.details) == ("refund_refused", (BACK_AT_US,))
    await purchase.is_completed()
    assert (await told_of_the_refund(purchase))[-1] == (TimelineCode.REFUND_REFUSED, BACK_AT_US)

    again = await market.refund(purchase)
    await eventually(lambda: _has_refunds(market, purchase, 2))
    second = (await market.refunds_of(purchase))[1]
    market.sandbox.settle_refund(second["id"])
    assert (await again.result()).refund_id == second["id"]
    await purchase.is_refunded(second["id"])


async def test_a_disputed_charge_is_not_refunded(market: Market) -> None:
    purchase = await market.sell("pm_card_createDispute")

    failure = await failure_of(await market.refund(purchase))

    assert (failure.type, failure.details) == ("refund_refused", ("charge_disputed",))
    await purchase.is_completed()


async def test_a_refund_that_is_done_is_never_started_again(market: Market) -> None:
    purchase = await market.sell()
    await (await market.refund(purchase)).result()

    with pytest.raises(WorkflowAlreadyStartedError):
        await market.refund(purchase)
    with pytest.raises(WorkflowAlreadyStartedError):
        await market.report_refund_change(purchase)


async def test_two_requests_are_one_refund_and_the_first_one_chooses(market: Market) -> None:
    purchase = await market.sell()
    market.sandbox.set_fault("balance_short", method="POST", path=REFUNDS)
    first = await market.refund(purchase, relist=True)

    second = await market.refund(purchase, relist=False)

    assert first.result_run_id == second.result_run_id
    assert await first.result() == await second.result()
    assert (await purchase.ticket()).status is TicketStatus.AVAILABLE
    assert len(await market.refunds_of(purchase)) == 1


async def test_an_operator_gives_up_a_refund_that_the_balance_is_too_short_for(
    market: Market,
) -> None:
    purchase = await market.sell()
    market.sandbox.set_fault("balance_short", method="POST", path=REFUNDS, times=None)
    refund = await market.refund(purchase)
    await market.waits_for_stripe(purchase)

    await refund.cancel()

    failure = await failure_of(refund)
    assert failure.details == (CancelReason.CANCELLED_BY_OPERATOR,)
    await purchase.is_completed()
    assert await market.refunds_of(purchase) == []


async def test_a_refund_that_stripe_has_begun_is_not_given_up(market: Market) -> None:
    purchase = await market.sell(PENDING_CARD)
    refund = await market.refund(purchase)
    await market.waits_for_stripe(purchase)

    await refund.cancel()
    await market.env.sleep(timedelta(hours=3))

    (pending,) = await market.refunds_of(purchase)
    market.sandbox.settle_refund(pending["id"])
    await purchase.is_refunded((await refund.result()).refund_id)


async def test_a_refund_made_at_stripe_is_only_recorded(market: Market) -> None:
    purchase = await market.sell()
    refund_id = await market.refund_at_stripe(purchase)

    recorded = await (await market.report_refund_change(purchase)).result()

    assert recorded.refund_id == refund_id
    await purchase.is_refunded(refund_id)
    assert await Ticket.get(purchase.ticket_id) is None
    assert await told_of_the_refund(purchase) == [CANCELLED]


async def test_the_seller_may_still_choose_while_a_refund_made_at_stripe_is_pending(
    market: Market,
) -> None:
    purchase = await market.sell(PENDING_CARD)
    refund_id = await market.refund_at_stripe(purchase)
    recording = await market.report_refund_change(purchase)
    await market.waits_for_stripe(purchase)

    await market.refund(purchase, relist=True)
    market.sandbox.settle_refund(refund_id)

    assert (await recording.result()).refund_id == refund_id
    assert (await purchase.ticket()).status is TicketStatus.AVAILABLE
    assert len(await market.refunds_of(purchase)) == 1


async def test_a_part_that_went_back_leaves_the_order_completed_and_the_rest_can_follow(
    market: Market,
) -> None:
    purchase = await market.sell()
    await market.refund_at_stripe(purchase, amount=1000)

    for _ in range(2):
        failure = await failure_of(await market.report_refund_change(purchase))
        assert failure.type == "refunded_in_part"

    await purchase.is_completed()
    in_part = (TimelineCode.REFUNDED_IN_PART, "1000")
    assert await told_of_the_refund(purchase) == [in_part]
    recorded = await (await market.refund(purchase)).result()
    await purchase.is_refunded(recorded.refund_id)
    assert [r["amount"] for r in await market.refunds_of(purchase)] == [1000, 1500]


@pytest.fixture
def slow_telling(monkeypatch: pytest.MonkeyPatch) -> asyncio.Barrier:
    """Each telling passes it twice; asked for before the market, whose worker it slows."""
    barrier, tell = asyncio.Barrier(2), RefundActivities.add_timeline_entry

    @activity.defn(name="add_timeline_entry")
    async def tell_slowly(self, input: AddTimelineEntry) -> None:  # type: ignore[no-untyped-def] # only what Temporal sends has a type
        await barrier.wait()
        await barrier.wait()
        await tell(self, input)

    monkeypatch.setattr(RefundActivities, "add_timeline_entry", tell_slowly)
    return barrier


async def test_news_that_come_while_a_part_is_told_are_not_lost(
    slow_telling: asyncio.Barrier, market: Market
) -> None:
    purchase = await market.sell()
    await market.refund_at_stripe(purchase, amount=1000)
    refund = await market.report_refund_change(purchase)
    await slow_telling.wait()
    await market.refund_at_stripe(purchase)
    await market.report_refund_change(purchase)

    await slow_telling.wait()

    await purchase.is_refunded((await refund.result()).refund_id)


async def test_an_order_that_was_never_paid_is_not_refunded(market: Market) -> None:
    purchase = await market.reserve()
    await purchase.cancel()

    failure = await failure_of(await market.refund(purchase))

    assert failure.type == "order_not_completed"
    await purchase.is_cancelled(CancelReason.CANCELLED_BY_BUYER)


async def test_a_refund_waits_for_an_order_that_is_about_to_close(market: Market) -> None:
    purchase = await market.reserve()
    refund = await market.refund(purchase)
    await market.env.sleep(timedelta(minutes=5))
    assert (await purchase.order()).status is OrderStatus.CREATED

    await purchase.pay()

    await purchase.is_refunded((await refund.result()).refund_id)


async def _has_refunds(market: Market, purchase: Purchase, count: int) -> bool:
    return len(await market.refunds_of(purchase)) == count
