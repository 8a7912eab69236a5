"""Refunds: requested by the ticket's seller, made by a workflow."""

from dataclasses import dataclass
from datetime import timedelta

from beanie import PydanticObjectId

from api.http.idempotency import derived_id
from api.http.models import path_id
from api.orders.service import OrderWithCharges, with_charges
from api.orders.timeline_messages import refund_failure_message
from api.temporal.errors import TemporalOutcomeUnknown, WorkflowAlreadyStarted, WorkflowNotFound
from api.temporal.refunds import RefundProgress, RefundWorkflowClient
from ticketing.errors import (
    IdempotencyKeyReused,
    NotTicketSeller,
    OrderNotCompleted,
    OrderNotFound,
    RefundRefused,
    RequestInProgress,
)
from ticketing.models import Order
from ticketing.observability.logs import bind_order_id
from ticketing.statuses import CancelReason, OrderStatus


@dataclass(frozen=True)
class _RefundRequest:
    """A seller's request."""

    relist: bool
    name: str | None
    """Derived from the idempotency key, so that a repeated request has the same name."""


class RefundService:
    """Shows sales to their sellers and refunds them."""

    def __init__(self, workflows: RefundWorkflowClient, *, wait: timedelta) -> None:
        self._workflows = workflows
        self._wait = wait

    async def sale(self, seller_id: PydanticObjectId, order_id: str) -> Order:
        """An order of one of the seller's tickets.

        Raises:
            OrderNotFound: there is no such order, or the caller is neither seller nor buyer.
            NotTicketSeller: the caller is its buyer.
        """
        return await _get_sale(seller_id, path_id(order_id, OrderNotFound))

    async def refund(
        self,
        seller_id: PydanticObjectId,
        order_id: str,
        *,
        relist: bool,
        idempotency_key: str | None = None,
    ) -> OrderWithCharges:
        """Refund a completed order; it is still completed if Stripe has not answered in time.

        A second request joins the running refund, and the first one's `relist` decides. The
        workflow's memo has the name of the request that started it.

        Raises:
            OrderNotFound: there is no such order, or the caller is neither seller nor buyer.
            NotTicketSeller: the caller is its buyer.
            OrderNotCompleted: the order is not paid.
            RefundRefused: Stripe refused the refund; the order stays completed.
            IdempotencyKeyReused: the key was first used with another `relist`.
            RequestInProgress: the first request with the key is not decided yet.
            TemporalUnavailable: the request could not be submitted.
        """
        order = await _get_sale(seller_id, path_id(order_id, OrderNotFound))
        request = _RefundRequest(relist, _request_name(order, idempotency_key))
        await self._raise_first_answer(order, request)
        if not is_refunded(order):
            if order.status is not OrderStatus.COMPLETED:
                raise OrderNotCompleted
            await self._request_refund(order, request)
            order = await _get_sale(seller_id, path_id(order_id, OrderNotFound))
        return (await with_charges([order]))[0]

    async def _raise_first_answer(self, order: Order, request: _RefundRequest) -> None:
        """Raise the first request's error for a repeated one, where the order does not tell it."""
        match await self._progress(order, request):
            case RefundProgress.RUNNING if not is_refunded(order):
                raise RequestInProgress
            case RefundProgress.REFUSED:
                try:
                    await self._wait_for_result(order)
                except TimeoutError:
                    raise RequestInProgress from None  # another refund was started meanwhile

    async def _progress(self, order: Order, request: _RefundRequest) -> RefundProgress | None:
        """The state of the refund that a request with the same key started, if there is one.

        Raises:
            IdempotencyKeyReused: that request had another `relist`.
        """
        if request.name is None:
            return None
        refund = await self._workflows.find(order)
        if refund is None or refund.request_name != request.name:
            return None
        if refund.relist != request.relist:
            raise IdempotencyKeyReused
        return refund.progress

    async def _request_refund(self, order: Order, request: _RefundRequest) -> None:
        """Submit the request and wait for its outcome."""
        try:
            await self._workflows.request(order, relist=request.relist, request_name=request.name)
        except WorkflowAlreadyStarted:
            return  # refunded just now; the order tells
        await self._progress(order, request)  # raises IdempotencyKeyReused after a concurrent start
        try:
            await self._wait_for_result(order)
        except (TimeoutError, TemporalOutcomeUnknown, WorkflowNotFound):
            return  # the request is submitted; its outcome is not known yet

    async def _wait_for_result(self, order: Order) -> None:
        try:
            await self._workflows.wait_for_result(order, self._wait)
        except RefundRefused as refused:
            raise RefundRefused(refund_failure_message(refused.detail or "")) from None


def _request_name(order: Order, idempotency_key: str | None) -> str | None:
    """The key's name in the memo; it includes the order, as one key may be used for several."""
    if idempotency_key is None:
        return None
    route = f"POST /api/orders/{order.id}/refund"
    return str(derived_id(route, order.seller_id, idempotency_key))


def is_refunded(order: Order) -> bool:
    """Whether the order was completed and then refunded."""
    return order.cancel_reason is CancelReason.REFUNDED


async def _get_sale(seller_id: PydanticObjectId, order_id: PydanticObjectId) -> Order:
    bind_order_id(order_id)
    order = await Order.get(order_id)
    if order is None or seller_id not in (order.seller_id, order.user_id):
        raise OrderNotFound
    if order.seller_id != seller_id:
        raise NotTicketSeller
    return order
