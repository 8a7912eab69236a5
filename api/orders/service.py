"""Orders: read and cancelled by their buyers; the workflow decides."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from beanie import PydanticObjectId
from beanie.operators import In

from api.http.models import path_id
from api.http.pagination import NEWEST_FIRST, PageQuery, ResultPage, find_page
from api.temporal.orders import WORKER_ANSWER_TIMEOUT, OrderWorkflowClient
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
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus


@dataclass(frozen=True)
class OrderWithCharges:
    """An order and all attempts to pay for it, oldest first."""

    order: Order
    charges: list[Charge] = field(default_factory=list)


class OrderService:
    """What a buyer can do with orders besides reserving and paying."""

    def __init__(self, workflows: OrderWorkflowClient) -> None:
        self._workflows = workflows

    async def get(self, buyer_id: PydanticObjectId, order_id: str) -> OrderWithCharges:
        """One of the buyer's own orders.

        Raises:
            OrderNotFound: there is no such order, or it is somebody else's.
        """
        order = await get_buyers_order(buyer_id, path_id(order_id, OrderNotFound))
        return (await with_charges([order]))[0]

    async def find(
        self, buyer_id: PydanticObjectId, status: OrderStatus | None, page: PageQuery
    ) -> ResultPage[OrderWithCharges]:
        """One page of the buyer's orders, newest first."""
        where = {"user_id": buyer_id} | ({"status": str(status)} if status else {})
        found = await find_page(
            Order, Order.model_validate, where, NEWEST_FIRST, page, exclude=["timeline"]
        )
        return ResultPage(await with_charges(found.items), found.next_cursor)

    async def cancel(self, buyer_id: PydanticObjectId, order_id: str) -> OrderWithCharges:
        """Cancel an unpaid order; a cancelled order stays cancelled.

        Raises:
            OrderNotFound: there is no such order, or it is somebody else's.
            OrderCompleted: it was paid.
            PaymentInProgress: a payment is being decided.
            TemporalUnavailable: no worker answered in time; the order may still be cancelled later.
        """
        order = await get_buyers_order(buyer_id, path_id(order_id, OrderNotFound))
        if not order.status.is_closed:
            assert order.id is not None  # noqa: S101 - it was read
            try:
                await self._workflows.cancel(order.id)
            except PaymentInProgress:
                await self._cancel_at_the_bank(order.id)
            order = await get_order(order.id)
        if order.status is OrderStatus.COMPLETED:
            raise OrderCompleted
        if order.status is not OrderStatus.CANCELLED:
            raise TemporalUnavailable("The order could not be cancelled in time; ask again.")
        return (await with_charges([order]))[0]

    async def _cancel_at_the_bank(self, order_id: PydanticObjectId) -> None:
        """Cancel an order whose buyer was sent to the bank, which its workflow may not know yet.

        The charge says so, and the buyer is told, a moment before the step that wrote it is over.
        """
        at_the_bank = {
            "order_id": order_id,
            "status": ChargeStatus.CREATED,
            "client_secret": {"$ne": None},
        }
        charge = await Charge.find_one(at_the_bank)
        if charge is None:
            raise PaymentInProgress
        await self._workflows.payment_decision(order_id, str(charge.id), WORKER_ANSWER_TIMEOUT)
        await self._workflows.cancel(order_id)


async def get_buyers_order(buyer_id: PydanticObjectId, order_id: PydanticObjectId) -> Order:
    """Read one of the buyer's own orders.

    Raises:
        OrderNotFound: there is no such order, or it is somebody else's.
    """
    bind_order_id(order_id)
    order = await find_buyers_order(buyer_id, order_id)
    if order is None:
        raise OrderNotFound
    return order


def closed_order_error(order: Order) -> TicketingError:
    """The error for any action on a closed order."""
    if order.status is OrderStatus.COMPLETED:
        return OrderCompleted()
    if order.cancel_reason is CancelReason.EXPIRED:
        return OrderExpired()
    return OrderCancelled()


async def find_buyers_order(buyer_id: PydanticObjectId, order_id: PydanticObjectId) -> Order | None:
    return await Order.find_one({"_id": order_id, "user_id": buyer_id})


async def get_order(order_id: PydanticObjectId) -> Order:
    order = await Order.get(order_id)
    if order is None:
        raise OrderNotFound
    return order


async def with_charges(orders: Sequence[Order]) -> list[OrderWithCharges]:
    by_order: defaultdict[PydanticObjectId, list[Charge]] = defaultdict(list)
    ids = [order.id for order in orders]
    async for charge in Charge.find(In(Charge.order_id, ids)).sort("order_id", "attempt"):
        by_order[charge.order_id].append(charge)
    return [OrderWithCharges(order, by_order[order.id]) for order in orders if order.id]
