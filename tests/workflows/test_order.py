from datetime import timedelta

from activities.reservations import Refusal
from tests.market import Market
from ticketing.statuses import CancelReason, OrderStatus, TicketStatus
from workflows.order import PaymentDecision


async def test_a_paid_order_is_completed(market: Market) -> None:
    purchase = await market.reserve()

    assert await purchase.pay() is PaymentDecision.COMPLETED

    await purchase.is_completed()


async def test_an_unpaid_order_expires_and_gives_the_ticket_back(market: Market) -> None:
    purchase = await market.reserve()

    await market.env.sleep(timedelta(minutes=14, seconds=59))
    assert (await purchase.ticket()).status is TicketStatus.RESERVED
    assert (await purchase.order()).status is OrderStatus.CREATED
    await market.is_refused(await purchase.ticket(), Refusal.TICKET_RESERVED)

    await market.env.sleep(timedelta(seconds=2))
    assert (await purchase.handle.result()).status is OrderStatus.CANCELLED
    await purchase.is_cancelled(CancelReason.EXPIRED)
    assert (await purchase.ticket()).status is TicketStatus.AVAILABLE
    await market.reserve(await purchase.ticket())
