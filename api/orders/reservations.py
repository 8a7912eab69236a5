"""Reservations: made for buyers, and found again; the workflow decides."""

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass

from beanie import PydanticObjectId
from pymongo.errors import PyMongoError

from activities.reservations import free_slot
from api.http.idempotency import derived_ids
from api.orders.refusal_counter import RefusedOrders
from api.orders.service import OrderWithCharges, order_under, with_charges
from api.orders.single_flight import CallCancelled, SingleFlight
from api.temporal.errors import WorkflowAlreadyStarted
from api.temporal.orders import Offer, OrderWorkflowClient
from ticketing.errors import (
    IdempotencyKeyReused,
    MongoDBUnavailable,
    OwnTicket,
    PriceChanged,
    RequestInProgress,
    TemporalUnavailable,
    TicketingError,
    TicketNotFound,
    TicketReserved,
    TicketSold,
    TooManyReservations,
    error_of,
)
from ticketing.models import Order, Ticket
from ticketing.observability.logs import bind_order_id
from ticketing.problem_codes import ProblemCode
from ticketing.settings import PurchaseSettings
from ticketing.statuses import OrderStatus, TicketStatus
from workflows.orders import OrderInput

RESERVE_ROUTE = "POST /api/orders"
"""Part of the ids that follow from an idempotency key: never to be changed."""

LEAVES_NO_TRACE = (None, ProblemCode.TEMPORAL_UNAVAILABLE, ProblemCode.PRICE_CHANGED)
"""Outcomes of a workflow without an order, after which a request is looked at anew."""


@dataclass(frozen=True)
class ReservationRequest:
    """Who wants which ticket."""

    buyer_id: PydanticObjectId
    ticket_id: PydanticObjectId
    price: int | None = None
    """The only one at which the buyer wants it; whoever names none takes the ticket's."""
    is_repeatable: bool = False
    """Whether it has a key, under which its answer can be asked for again."""


@dataclass(frozen=True)
class ReservedOrder:
    """The order that holds the ticket for the caller, and whether this request made it."""

    order: OrderWithCharges
    is_new: bool


Reservations = SingleFlight[PydanticObjectId, Order]
"""The reservations that this process is making, by ticket.

The reservation's transaction decides who gets a ticket, whatever happens here. But a rush of buyers
who all saw it free would start a workflow each, and all but one of them for nothing.
"""


class ReservationService:
    """Holds tickets for buyers, each under an order of its own."""

    def __init__(
        self,
        workflows: OrderWorkflowClient,
        *,
        rules: PurchaseSettings,
        refused_orders: RefusedOrders,
        under_way: Reservations,
    ) -> None:
        self._workflows = workflows
        self._rules = rules
        self._refused_orders = refused_orders
        self._under_way = under_way

    async def reserve(
        self,
        buyer_id: PydanticObjectId,
        ticket_id: PydanticObjectId,
        idempotency_key: str | None = None,
        *,
        price: int | None = None,
    ) -> ReservedOrder:
        """Reserve the ticket, or find the order under which the buyer already holds it.

        With a key, whoever asks again gets the first answer again. A reservation that was not
        made in time holds nothing and never will, so the key's next id is tried.

        Raises:
            TicketNotFound: there is no such ticket.
            OwnTicket: the buyer is its seller.
            TicketReserved: another order holds it.
            TicketSold: it is sold.
            PriceChanged: it is not to be had at this price, or the buyer holds it at another.
            TooManyReservations: the buyer holds as many unpaid tickets as one may.
            IdempotencyKeyReused: the key came first with another ticket, or another price.
            RequestInProgress: the first request with the key is not answered yet.
            TemporalUnavailable: no worker answered in time; no ticket is held for it.
            TemporalOutcomeUnknown: Temporal did not answer, and a ticket may be held for it.
        """
        request = ReservationRequest(buyer_id, ticket_id, price, idempotency_key is not None)
        if idempotency_key is None:
            return await self._or_count(self._reserve(PydanticObjectId(), request))
        order_ids = derived_ids(RESERVE_ROUTE, buyer_id, idempotency_key)
        while True:
            answer = await self._reserve_or_repeat(next(order_ids), request)
            if answer is not None:
                return answer

    async def _reserve_or_repeat(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        """The answer under this id, made now or before; None if it was abandoned."""
        if await order_under(order_id, request.buyer_id) is None:
            with suppress(WorkflowAlreadyStarted):
                return await self._or_count(self._reserve(order_id, request))
        return await self._repeat(order_id, request)

    async def _or_count(self, reserving: Awaitable[ReservedOrder]) -> ReservedOrder:
        try:
            return await reserving
        except TicketingError as refusal:
            self._refused_orders.count(refusal)
            raise

    async def _reserve(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder:
        """Look at the ticket; join whoever is asking for it; else start the order's workflow.

        Raises:
            WorkflowAlreadyStarted: the same request came before, or at the same time.
        """
        while True:
            if self._under_way.is_under_way(request.ticket_id):
                # In a rush most are answered here, and the database is not asked.
                await self._join(request)
                continue
            ticket = await Ticket.get(request.ticket_id)
            if ticket is not None and ticket.order_id == order_id:
                raise WorkflowAlreadyStarted
            ticket = _for_sale(ticket, request.buyer_id)
            if ticket.status is TicketStatus.RESERVED:
                # Answered without a workflow, so a rush for one ticket costs next to nothing.
                return await self._held_by(request, ticket)
            if request.price not in (None, ticket.price):
                raise PriceChanged(ticket.price)
            if self._under_way.is_under_way(request.ticket_id):
                continue
            try:
                start = self._start(order_id, request, ticket)
                return _first_answer(await self._under_way.lead(request.ticket_id, start))
            except TicketReserved:
                now = _for_sale(await Ticket.get(request.ticket_id), request.buyer_id)
                return await self._held_by(request, now)

    async def _join(self, request: ReservationRequest) -> None:
        """Wait for whoever is reserving the ticket; return if it may be asked for again.

        Raises:
            OwnTicket, TicketReserved, TemporalUnavailable: the other's outcome is this one's, too.
        """
        try:
            order = await self._under_way.outcome(request.ticket_id)
        except TemporalUnavailable:
            raise
        except (TicketingError, PyMongoError, WorkflowAlreadyStarted, CallCancelled):
            return  # the other buyer's own affair
        if order.seller_id == request.buyer_id:
            raise OwnTicket
        if order.user_id != request.buyer_id:
            raise TicketReserved

    async def _start(
        self, order_id: PydanticObjectId, request: ReservationRequest, ticket: Ticket
    ) -> Order:
        """Have the order's workflow reserve the ticket; the order, as it was recorded.

        Raises:
            TicketingError: the workflow refused.
            MongoDBUnavailable: a primary that was elected a moment ago does not show it yet.
        """
        bind_order_id(order_id)
        slot = await self._free_slot(order_id, request.buyer_id, ticket)
        reservation = await self._workflows.reserve(
            OrderInput(
                order_id=str(order_id),
                ticket_id=str(ticket.id),
                buyer_id=str(request.buyer_id),
                reservation_ttl=self._rules.reservation_ttl,
                payment_attempts=self._rules.payment_attempts,
                max_reservations=self._rules.max_reservations,
                slot=slot,
                price=request.price,
            ),
            Offer(str(ticket.user_id), ticket.price, ticket.currency),
        )
        if reservation.refusal is not None:
            raise _error_of(reservation.refusal, reservation.price)
        try:
            order = await Order.get(order_id)
            if order is None:
                raise MongoDBUnavailable
        except (MongoDBUnavailable, PyMongoError):
            if not request.is_repeatable:
                await self._give_back(order_id)
            raise
        return order

    async def _give_back(self, order_id: PydanticObjectId) -> None:
        """Cancel an order that its buyer will never hear of; unheard, it expires."""
        with suppress(TicketingError):
            await self._workflows.cancel(order_id)

    async def _repeat(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        """What the first request under this id was answered; None if it was abandoned."""
        order = await order_under(order_id, request.buyer_id)
        if order is None or order.status is OrderStatus.CREATED:
            progress = await self._workflows.reservation_progress(order_id)
            if progress.ticket_id != str(request.ticket_id):
                raise IdempotencyKeyReused
            if progress.is_reserving:
                raise RequestInProgress
            order = await order_under(order_id, request.buyer_id)
        if order is None:
            return await self._repeat_refusal(order_id, request)
        if order.ticket_id != request.ticket_id:
            raise IdempotencyKeyReused
        if order.was_abandoned:
            return None
        # Had the first request named another price than the order's, there would be no order.
        if request.price not in (None, order.ticket.price):
            raise IdempotencyKeyReused
        return _first_answer(order)

    async def _repeat_refusal(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        refusal = await self._workflows.refusal_of(order_id)
        if refusal in LEAVES_NO_TRACE:
            return None
        ticket = await Ticket.get(request.ticket_id)
        if refusal is ProblemCode.TICKET_RESERVED and ticket is not None:
            return await self._held_by(request, ticket)
        raise error_of(refusal)

    async def _free_slot(
        self, order_id: PydanticObjectId, buyer_id: PydanticObjectId, ticket: Ticket
    ) -> int | None:
        """A look that spares most a workflow; the reservation itself decides."""
        slot = await free_slot(str(buyer_id), self._rules.max_reservations, str(order_id))
        if slot is not None:
            return slot
        # The other half of a double click may have reserved this very ticket meanwhile.
        now = await Ticket.get(ticket.id)
        if now is not None and now.status is TicketStatus.AVAILABLE:
            raise TooManyReservations
        return None

    async def _held_by(self, request: ReservationRequest, ticket: Ticket) -> ReservedOrder:
        order = await Order.get(ticket.order_id) if ticket.order_id else None
        if order is None or order.user_id != request.buyer_id or order.status.is_closed:
            raise TicketReserved
        if order.status is OrderStatus.CREATED:
            await self._wait_until_recorded(order)
        if request.price not in (None, order.ticket.price):
            raise PriceChanged(order.ticket.price)
        return ReservedOrder((await with_charges([order]))[0], is_new=False)

    async def _wait_until_recorded(self, order: Order) -> None:
        """Promise nothing that the other request is not promised either."""
        assert order.id is not None  # noqa: S101 - it was read
        progress = await self._workflows.reservation_progress(order.id)
        if not progress.is_reserving:
            return
        reservation = await self._workflows.await_reservation(order.id)
        if reservation.refusal is not None:
            raise _error_of(reservation.refusal, reservation.price)


def _for_sale(ticket: Ticket | None, buyer_id: PydanticObjectId) -> Ticket:
    """The ticket, free or reserved.

    Raises:
        TicketNotFound, OwnTicket, TicketSold: whoever asks cannot buy it.
    """
    if ticket is None:
        raise TicketNotFound
    if ticket.user_id == buyer_id:
        raise OwnTicket
    if ticket.status is TicketStatus.SOLD:
        raise TicketSold
    return ticket


def _error_of(refusal: ProblemCode, price: int) -> TicketingError:
    """The refusal as the API says it; the price is the ticket's."""
    return PriceChanged(price) if refusal is ProblemCode.PRICE_CHANGED else error_of(refusal)()


def _first_answer(order: Order) -> ReservedOrder:
    """The order as it was when the ticket was reserved, whatever has become of it since."""
    as_reserved = {
        "status": OrderStatus.CREATED,
        "cancel_reason": None,
        "completed_at": None,
        "cancelled_at": None,
    }
    return ReservedOrder(OrderWithCharges(order.model_copy(update=as_reserved)), is_new=True)
