"""Refunds: asked for by the ticket's seller, carried out by a workflow of their own."""

from dataclasses import dataclass
from datetime import timedelta

from beanie import PydanticObjectId

from api.http.idempotency import derived_id
from api.http.models import path_id
from api.orders.service import OrderWithCharges, with_charges
from api.orders.timeline_words import refusal_words
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
    """One request of a seller's."""

    relist: bool
    name: str | None
    """The same whenever it is repeated under its key."""


class RefundService:
    """What a seller can do for a buyer who has paid."""

    def __init__(self, workflows: RefundWorkflowClient, *, wait: timedelta) -> None:
        self._workflows = workflows
        self._wait = wait

    async def sale(self, seller_id: PydanticObjectId, order_id: str) -> Order:
        """An order of one of the seller's tickets.

        Raises:
            OrderNotFound: there is none, or the caller has nothing to do with it.
            NotTicketSeller: the caller is its buyer.
        """
        return await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))

    async def refund(
        self,
        seller_id: PydanticObjectId,
        order_id: str,
        *,
        relist: bool,
        idempotency_key: str | None = None,
    ) -> OrderWithCharges:
        """Refund a completed order; still completed if Stripe has not answered in time.

        Whoever asks again joins the refund that is under way, and its ticket goes where the
        first request said. The key of the request that started it is kept with the workflow.

        Raises:
            OrderNotFound: there is none, or the caller has nothing to do with it.
            NotTicketSeller: the caller is its buyer.
            OrderNotCompleted: nothing was paid that could go back.
            RefundRefused: Stripe said no; the order stays completed.
            IdempotencyKeyReused: the key came first with another `relist`.
            RequestInProgress: the first request with the key is not decided yet.
            TemporalUnavailable: the request could not be handed over.
        """
        order = await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))
        request = _RefundRequest(relist, _name_of(order, idempotency_key))
        await self._refuse_repetition(order, request)
        if not is_refunded(order):
            if order.status is not OrderStatus.COMPLETED:
                raise OrderNotCompleted
            await self._ask_for_refund(order, request)
            order = await _order_of_seller(seller_id, path_id(order_id, OrderNotFound))
        return (await with_charges([order]))[0]

    async def _refuse_repetition(self, order: Order, request: _RefundRequest) -> None:
        """Tell a repeated request what the first one is told, where its order does not say it."""
        match await self._progress_of(order, request):
            case RefundProgress.RUNNING if not is_refunded(order):
                raise RequestInProgress
            case RefundProgress.REFUSED:
                try:
                    await self._await_end(order)
                except TimeoutError:
                    raise RequestInProgress from None  # another one has been started meanwhile

    async def _progress_of(self, order: Order, request: _RefundRequest) -> RefundProgress | None:
        """How the refund stands that this very request has started, if one has.

        Raises:
            IdempotencyKeyReused: one with the same key has, and it was another request.
        """
        if request.name is None:
            return None
        refund = await self._workflows.find(order)
        if refund is None or refund.request_name != request.name:
            return None
        if refund.relist != request.relist:
            raise IdempotencyKeyReused
        return refund.progress

    async def _ask_for_refund(self, order: Order, request: _RefundRequest) -> None:
        """Hand the request over, and wait a while for what becomes of it."""
        try:
            await self._workflows.request(order, relist=request.relist, request_name=request.name)
        except WorkflowAlreadyStarted:
            return  # done a moment ago, and the order says so
        await self._progress_of(order, request)  # another request's, if both came at once
        try:
            await self._await_end(order)
        except (TimeoutError, TemporalOutcomeUnknown, WorkflowNotFound):
            return  # Temporal has the request, whatever it can say of it now

    async def _await_end(self, order: Order) -> None:
        try:
            await self._workflows.await_end(order, self._wait)
        except RefundRefused as refused:
            raise RefundRefused(refusal_words(refused.detail or "")) from None


def _name_of(order: Order, idempotency_key: str | None) -> str | None:
    """What stands for the key in the memo; the same key names another request elsewhere."""
    if idempotency_key is None:
        return None
    route = f"POST /api/orders/{order.id}/refund"
    return str(derived_id(route, order.seller_id, idempotency_key))


def is_refunded(order: Order) -> bool:
    """Whether the order was completed once, and its money has gone back."""
    return order.cancel_reason is CancelReason.REFUNDED


async def _order_of_seller(seller_id: PydanticObjectId, order_id: PydanticObjectId) -> Order:
    bind_order_id(order_id)
    order = await Order.get(order_id)
    if order is None or seller_id not in (order.seller_id, order.user_id):
        raise OrderNotFound
    if order.seller_id != seller_id:
        raise NotTicketSeller
    return order
