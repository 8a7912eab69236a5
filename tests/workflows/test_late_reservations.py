"""Reservations that nobody waits for any more are not made, or are undone."""

from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from activities.reservations import ReservationActivities, ReserveTicket
from stripe_sandbox.testing import RunningSandbox
from tests.market import TTL, Market
from ticketing.clock import utc_now
from ticketing.models import Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import OrderStatus, TicketStatus
from ticketing.workflow_ids import order_workflow_id
from worker import create_worker
from workflows.orders import (
    RESERVE_TIMEOUT,
    OrderInput,
    OrderState,
    OrderWorkflow,
)

Handle = WorkflowHandle[OrderWorkflow, OrderState]


@pytest.fixture
def unattended(env: WorkflowEnvironment, task_queue: str, sandbox: RunningSandbox) -> Market:
    """A market whose worker is away."""
    return Market(env=env, task_queue=task_queue, sandbox=sandbox)


BUYER = str(PydanticObjectId())


async def start(market: Market, ticket: Ticket, order_id: PydanticObjectId) -> Handle:
    return await market.env.client.start_workflow(
        OrderWorkflow.run,
        OrderInput(
            order_id=str(order_id),
            ticket_id=str(ticket.id),
            buyer_id=BUYER,
            reservation_ttl=TTL,
            payment_attempts=1,
            max_reservations=8,
        ),
        id=order_workflow_id(str(order_id)),
        task_queue=market.task_queue,
    )


@pytest.mark.parametrize("was_made", [False, True], ids=["not made", "made by a dead worker"])
async def test_a_worker_that_comes_too_late_holds_no_ticket(
    unattended: Market,
    mongodb: AsyncMongoClient[BSONDocument],
    gateway: StripeGateway,
    *,
    was_made: bool,
) -> None:
    ticket, order_id = await unattended.list_ticket(), PydanticObjectId()
    handle = await start(unattended, ticket, order_id)
    if was_made:
        await ReservationActivities(mongodb).reserve_ticket(
            ReserveTicket(
                order_id=str(order_id),
                ticket_id=str(ticket.id),
                buyer_id=BUYER,
                reserved_at=utc_now(),
                expires_at=utc_now() + TTL,
                max_reservations=8,
            )
        )
    await unattended.env.sleep(RESERVE_TIMEOUT + timedelta(seconds=1))

    worker = create_worker(
        unattended.env.client, task_queue=unattended.task_queue, mongo=mongodb, gateway=gateway
    )
    async with worker:
        result = await handle.result()
        assert result.refusal is ProblemCode.TEMPORAL_UNAVAILABLE
        assert (await unattended.look_at(ticket)).status is TicketStatus.AVAILABLE
        left = await Order.get(order_id)
        assert left is not None
        assert left.status is OrderStatus.CANCELLED
        await unattended.reserve(ticket)
