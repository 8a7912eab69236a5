"""What holds of every order, whatever has happened to it."""

from datetime import timedelta

from temporalio.client import WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from tests.market import Purchase
from tests.stateful.troubled_market import TroubledMarket
from ticketing.models import Charge, Order, Ticket
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import ChargeStatus, OrderStatus
from worker import workflow_runner

UNPAYABLE = {"canceled", "succeeded"}
"""Nothing more can be paid under an intent that is one of these."""

CLOCK_TOLERANCE = timedelta(seconds=1)


async def is_sound(market: TroubledMarket) -> None:
    """Assert invariants I1 to I5, and I6 and I7 where a worker is there."""
    tickets, orders = await Ticket.find_all().to_list(), await Order.find_all().to_list()
    for ticket in tickets:
        _is_held_once(ticket, [order for order in orders if order.ticket_id == ticket.id])
    holding = [order for order in orders if order.status is not OrderStatus.CANCELLED]
    assert {order.ticket_id for order in holding} <= {ticket.id for ticket in tickets}
    for order in orders:
        await _is_paid_if_completed(market, order)
    if market.is_attended:
        await _runs_while_open(market, orders)


def _is_held_once(ticket: Ticket, orders: list[Order]) -> None:
    holding = [order for order in orders if order.status is not OrderStatus.CANCELLED]
    assert [order.id for order in holding] == ([ticket.order_id] if ticket.order_id else [])
    is_sold = [order.status for order in holding] == [OrderStatus.COMPLETED]
    assert is_sold == (ticket.sold_at is not None)
    assert {order.ticket.price for order in holding} <= {ticket.price}


async def _is_paid_if_completed(market: TroubledMarket, order: Order) -> None:
    charges = await Charge.find({"order_id": order.id}).to_list()
    paid = [(c.amount, c.currency) for c in charges if c.status is ChargeStatus.COMPLETED]
    ledger = market.sandbox.summary()
    intents = [intent for intent in ledger if intent["metadata"]["order_id"] == str(order.id)]
    captured = [(i["captured"], i["currency"]) for i in intents if i["captured"]]
    price = [(order.ticket.price, order.ticket.currency)]
    if order.status is OrderStatus.AWAITING_PAYMENT:
        assert paid == []
        assert captured in ([], price)  # the answer to a capture may have been lost
    else:
        is_completed = order.status is OrderStatus.COMPLETED
        assert paid == captured == (price if is_completed else [])
        assert {intent["status"] for intent in intents} <= UNPAYABLE


async def _runs_while_open(market: TroubledMarket, orders: list[Order]) -> None:
    by_id = {order.id: order for order in orders}
    now = await market.env.get_current_time()
    for purchase in market.purchases:
        order = by_id.get(purchase.order_id)
        description = await purchase.handle.describe()
        is_running = description.status is WorkflowExecutionStatus.RUNNING
        assert is_running == (order is not None and not order.status.is_closed)
        if order is not None and order.status is OrderStatus.CREATED:
            assert order.expires_at > now - CLOCK_TOLERANCE


async def is_at_its_end(market: TroubledMarket, purchase: Purchase) -> None:
    """Assert that the order is closed as its workflow says, which a replay says again."""
    result, order = await purchase.handle.result(), await Order.get(purchase.order_id)
    if result.refusal is None:
        assert order is not None
        assert order.status.is_closed
        assert (result.status, result.cancel_reason) == (order.status, order.cancel_reason)
    elif order is not None:
        # What is made too late is undone, and leaves a cancelled order behind.
        assert (result.refusal, order.status) == (
            ProblemCode.TEMPORAL_UNAVAILABLE,
            OrderStatus.CANCELLED,
        )
    await _takes_the_same_path_again(market, purchase)


async def _takes_the_same_path_again(market: TroubledMarket, purchase: Purchase) -> None:
    replayer = Replayer(
        workflows=market.workflows,
        workflow_runner=workflow_runner(),
        data_converter=pydantic_data_converter,
    )
    await replayer.replay_workflow(await purchase.handle.fetch_history())
