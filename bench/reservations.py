"""Thousands of reservations, started as the API starts them, but without HTTP."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from bson import ObjectId
from temporalio.client import Client

from api.temporal.orders import Offer, order_start
from bench.market import Market
from bench.timing import run_concurrently
from ticketing.payloads import DATA_CONVERTER
from workflows.orders import OrderInput, OrderWorkflow

AT_ONCE = 16
MOST_BY_ONE_BUYER = 8


async def reserve_directly(
    market: Market, tickets: Sequence[str], ttl: Callable[[], timedelta]
) -> None:
    """Reserve all tickets, each for the duration that `ttl` returns for it.

    Raises:
        AssertionError: one could not be reserved.
    """
    client = await Client.connect(market.temporal_address, data_converter=DATA_CONVERTER)
    queue = market.stack.environment["TASK_QUEUE"]
    buyers = [str(ObjectId()) for _ in range(len(tickets) // MOST_BY_ONE_BUYER + 1)]

    async def reserve(number: int) -> None:
        order = OrderInput(
            order_id=str(ObjectId()),
            ticket_id=tickets[number],
            buyer_id=buyers[number % len(buyers)],
            reservation_ttl=ttl(),
            payment_attempts=1,
            max_reservations=MOST_BY_ONE_BUYER,
            slot=number // len(buyers),
        )
        reservation = await client.execute_update_with_start_workflow(
            OrderWorkflow.reserve,
            start_workflow_operation=order_start(order, Offer(str(ObjectId()), 5000, "usd"), queue),
        )
        assert reservation.refusal is None, reservation

    await run_concurrently(len(tickets), AT_ONCE, reserve)
