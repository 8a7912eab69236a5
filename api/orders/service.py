"""Orders: read and cancelled for their buyers; the workflow decides."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from beanie import PydanticObjectId
from beanie.operators import In
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from api.http.models import path_id
from api.http.pagination import NEWEST_FIRST, PageQuery, find_page
from ticketing.errors import (
    OrderCancelled,
    OrderCompleted,
    OrderExpired,
    OrderNotFound,
    PaymentInProgress,
    TemporalUnavailable,
    TicketingError,
)
from ticketing.models import Charge, Order
from ticketing.observability.logs import bind_order_id
from ticketing.statuses import CancelReason, OrderStatus
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import OrderState, OrderWorkflow

WORKFLOW_WAIT_SECONDS = 10.0
"""How long a request waits for a worker; longer than a reservation may take (`RESERVE_TIMEOUT`)."""

CANCEL_REFUSALS = {str(error.code): error for error in (OrderCompleted, PaymentInProgress)}
"""By the types that the validator of the workflow's `cancel` raises."""


@dataclass(frozen=True)
class OrderWithCharges:
    """An order and every attempt to pay for it, first to last."""

    order: Order
    charges: list[Charge] = field(default_factory=list)


@dataclass(frozen=True)
class FoundOrders:
    """One page of a buyer's orders."""

    orders: list[OrderWithCharges]
    next_cursor: str | None


class OrderService:
    """What a buyer can do with an order besides paying for it."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def get(self, buyer_id: PydanticObjectId, order_id: str) -> OrderWithCharges:
        """One of the buyer's own orders.

        Raises:
            OrderNotFound: there is none, or it is somebody else's.
        """
        order = await order_of(buyer_id, path_id(order_id, OrderNotFound))
        return (await with_charges([order]))[0]

    async def find(
        self, buyer_id: PydanticObjectId, status: OrderStatus | None, page: PageQuery
    ) -> FoundOrders:
        """The buyer's own orders, newest first."""
        where = {"user_id": buyer_id} | ({"status": str(status)} if status else {})
        found = await find_page(
            Order, Order.model_validate, where, NEWEST_FIRST, page, left_out=["timeline"]
        )
        return FoundOrders(await with_charges(found.documents), found.next_cursor)

    async def cancel(self, buyer_id: PydanticObjectId, order_id: str) -> OrderWithCharges:
        """Cancel an order that is not paid; cancelled before is cancelled.

        Raises:
            OrderNotFound: there is none, or it is somebody else's.
            OrderCompleted: it was paid.
            PaymentInProgress: a payment is being decided.
            TemporalUnavailable: no worker answered in time; the order may yet be cancelled.
        """
        order = await order_of(buyer_id, path_id(order_id, OrderNotFound))
        if not order.status.is_closed:
            assert order.id is not None  # noqa: S101 - it was read
            await self._ask_to_cancel(order_handle(self._temporal, order.id))
            order = await existing_order(order.id)
        if order.status is OrderStatus.COMPLETED:
            raise OrderCompleted
        if order.status is not OrderStatus.CANCELLED:
            raise TemporalUnavailable("The order could not be cancelled in time; ask again.")
        return (await with_charges([order]))[0]

    async def _ask_to_cancel(self, handle: WorkflowHandle[OrderWorkflow, OrderState]) -> None:
        try:
            async with asyncio.timeout(WORKFLOW_WAIT_SECONDS):
                await handle.execute_update(OrderWorkflow.cancel)
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            return
        except RPCError as error:
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                raise
            # The workflow has just closed, or its worker failed: the order's document says how.
        except WorkflowUpdateFailedError as error:
            refusal = CANCEL_REFUSALS.get(getattr(error.cause, "type", None) or "")
            if refusal is not None:
                raise refusal from None


def order_handle(
    temporal: Client, order_id: PydanticObjectId
) -> WorkflowHandle[OrderWorkflow, OrderState]:
    """The handle of the workflow that carries out the order."""
    return temporal.get_workflow_handle_for(OrderWorkflow.run, order_workflow_id(str(order_id)))


async def order_of(buyer_id: PydanticObjectId, order_id: PydanticObjectId) -> Order:
    """Read one of the buyer's own orders.

    Raises:
        OrderNotFound: there is none, or it is somebody else's, which is nobody's business.
    """
    bind_order_id(order_id)
    order = await order_under(order_id, buyer_id)
    if order is None:
        raise OrderNotFound
    return order


def closed_order_error(order: Order) -> TicketingError:
    """Why nothing can be done with a closed order."""
    if order.status is OrderStatus.COMPLETED:
        return OrderCompleted()
    if order.cancel_reason is CancelReason.EXPIRED:
        return OrderExpired()
    return OrderCancelled()


async def order_under(order_id: PydanticObjectId, buyer_id: PydanticObjectId) -> Order | None:
    return await Order.find_one({"_id": order_id, "user_id": buyer_id})


async def existing_order(order_id: PydanticObjectId) -> Order:
    order = await Order.get(order_id)
    if order is None:
        raise OrderNotFound
    return order


async def with_charges(orders: Iterable[Order]) -> list[OrderWithCharges]:
    """Each order with every attempt to pay for it."""
    by_order: defaultdict[PydanticObjectId, list[Charge]] = defaultdict(list)
    ids = [order.id for order in orders]
    async for charge in Charge.find(In(Charge.order_id, ids)).sort("order_id", "attempt"):
        by_order[charge.order_id].append(charge)
    return [OrderWithCharges(order, by_order[order.id]) for order in orders if order.id]
