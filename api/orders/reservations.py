"""Reservations: made for buyers, or found again; the workflow decides."""

from collections.abc import Awaitable
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from beanie import PydanticObjectId
from pymongo.errors import PyMongoError
from starlette.requests import ClientDisconnect

from activities.reservations import HeldSlot, choose_slot, created_order, find_held_slots
from api.http.idempotency import derived_ids
from api.orders.refusal_counter import RefusalCounter
from api.orders.service import OrderWithCharges, find_buyers_order, with_charges
from api.orders.single_flight import CallCancelled, SingleFlight
from api.temporal.admission import Admission, Operation, WhileWaiting
from api.temporal.errors import WorkflowAlreadyStarted
from api.temporal.orders import Offer, OrderWorkflowClient
from ticketing.errors import (
    IdempotencyKeyReused,
    MongoDBUnavailable,
    Overloaded,
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
from workflows.orders import OrderInput, reserve_request

RESERVE_ROUTE = "POST /api/orders"
"""Part of the ids derived from idempotency keys: must never change."""

TRIED_ANEW = (None, ProblemCode.TEMPORAL_UNAVAILABLE, ProblemCode.PRICE_CHANGED)
"""Outcomes without a reservation, after which a repeated key is tried with its next id."""

PERHAPS_RESERVED = (
    "Too many people are buying right now. Your reservation of this ticket is still being made; "
    "ask again in a few seconds."
)


@dataclass(frozen=True)
class ReservationRequest:
    """A buyer's request for a ticket."""

    buyer_id: PydanticObjectId
    ticket_id: PydanticObjectId
    price: int | None = None
    """The price that the buyer was shown; None accepts any price."""
    is_repeatable: bool = False
    """Whether it has an idempotency key, so that the client can ask for its answer again."""


@dataclass(frozen=True)
class ReservedOrder:
    """The order that holds the ticket for the caller, and whether the key's request created it."""

    order: OrderWithCharges
    is_new: bool


ReservationsInFlight = SingleFlight[PydanticObjectId, Order]
"""The reservations in flight in this process, by ticket id.

They only save work: the reservation's transaction decides who gets the ticket. Without them, each
buyer in a rush who saw the ticket available would start a workflow, and all but one in vain.
"""


class ReservationService:
    """Reserves tickets for buyers, each with an order of its own."""

    def __init__(
        self,
        workflows: OrderWorkflowClient,
        *,
        rules: PurchaseSettings,
        refusal_counter: RefusalCounter,
        in_flight: ReservationsInFlight,
        admission: Admission,
        while_queued: WhileWaiting = nullcontext,
    ) -> None:
        self._workflows = workflows
        self._rules = rules
        self._refusal_counter = refusal_counter
        self._in_flight = in_flight
        self._admission = admission
        self._while_queued = while_queued

    async def refuse_if_overloaded(self, ticket_id: PydanticObjectId) -> None:
        """Refuse a request early that would find the queue for Temporal full.

        Whoever is told without asking Temporal that the ticket is taken is not refused: they would
        come again in vain.

        Raises:
            Overloaded: nothing was done for the request.
        """
        if self._admission.has_room(Operation.RESERVATION):
            return
        if self._in_flight.is_in_flight(ticket_id):
            return
        tickets = Ticket.get_pymongo_collection()
        if await tickets.find_one({"_id": ticket_id, "order_id": None}, {"_id": 1}):
            raise self._admission.turn_away(Operation.RESERVATION)

    async def reserve(
        self,
        buyer_id: PydanticObjectId,
        ticket_id: PydanticObjectId,
        idempotency_key: str | None = None,
        *,
        price: int | None = None,
    ) -> ReservedOrder:
        """Reserve the ticket, or find the order with which the buyer already holds it.

        With an idempotency key, a repeated request gets the first answer again. A reservation
        that was abandoned holds nothing and never will, so then the key's next id is tried.

        Raises:
            TicketNotFound: there is no such ticket.
            OwnTicket: the buyer is the seller.
            TicketReserved: another order holds it.
            TicketSold: it is sold.
            PriceChanged: the ticket, or the order that holds it for the buyer, has another price.
            TooManyReservations: the buyer has the maximum number of unpaid orders.
            IdempotencyKeyReused: the key was first used with another ticket or price.
            RequestInProgress: the first request with the key is not answered yet.
            Overloaded: too much is asked of Temporal, which was not asked.
            TemporalUnavailable: no worker answered in time; the ticket is not reserved.
            TemporalOutcomeUnknown: Temporal did not answer; the ticket may be reserved.
        """
        request = ReservationRequest(buyer_id, ticket_id, price, idempotency_key is not None)
        if idempotency_key is None:
            return await self._counting_refusals(self._reserve(PydanticObjectId(), request))
        order_ids = derived_ids(RESERVE_ROUTE, buyer_id, idempotency_key)
        while True:
            answer = await self._reserve_or_repeat(next(order_ids), request)
            if answer is not None:
                return answer

    async def _reserve_or_repeat(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        """Reserve with this order id, or repeat its answer; None if it was abandoned."""
        if await find_buyers_order(request.buyer_id, order_id) is None:
            with suppress(WorkflowAlreadyStarted):
                return await self._counting_refusals(self._reserve(order_id, request))
        return await self._repeat_answer(order_id, request)

    async def _counting_refusals(self, reserving: Awaitable[ReservedOrder]) -> ReservedOrder:
        try:
            return await reserving
        except TicketingError as refusal:
            self._refusal_counter.count(refusal)
            raise

    async def _reserve(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder:
        """Start the order's workflow, or wait for a reservation of the ticket that is in flight.

        Raises:
            WorkflowAlreadyStarted: the same request came before, or at the same time.
        """
        while True:
            if self._in_flight.is_in_flight(request.ticket_id):
                # In a rush most callers are answered here, without reading the database.
                await self._join(request)
                continue
            ticket, held_slots = await self._look(request)
            if ticket is not None and ticket.order_id == order_id:
                raise WorkflowAlreadyStarted
            ticket = _require_for_sale(ticket, request.buyer_id)
            if ticket.status is TicketStatus.RESERVED:
                # Answered without a workflow, so that a rush for one ticket costs very little.
                return await self._existing_reservation(request, ticket)
            if request.price not in (None, ticket.price):
                raise PriceChanged(ticket.price)
            if self._in_flight.is_in_flight(request.ticket_id):
                continue
            try:
                start = self._start(order_id, request, ticket, held_slots)
                return _as_first_answered(await self._in_flight.run(request.ticket_id, start))
            except TicketReserved:
                now = _require_for_sale(await Ticket.get(request.ticket_id), request.buyer_id)
                return await self._existing_reservation(request, now)

    async def _look(self, request: ReservationRequest) -> tuple[Ticket | None, list[HeldSlot]]:
        """The ticket, and the slots that the buyer's unpaid orders take, in one command."""
        slots = find_held_slots(str(request.buyer_id), self._rules.max_reservations)
        with_slots = {"from": Order.get_collection_name(), "pipeline": slots, "as": "held_slots"}
        found = await Ticket.aggregate(
            [{"$match": {"_id": request.ticket_id}}, {"$lookup": with_slots}]
        ).to_list()
        if not found:
            return None, []
        return Ticket.model_validate(found[0]), found[0]["held_slots"]

    async def _join(self, request: ReservationRequest) -> None:
        """Wait for the reservation in flight; return if the caller may try for itself.

        Raises:
            OwnTicket, TicketReserved, Overloaded, TemporalUnavailable: the outcome is also the
                caller's.
        """
        try:
            order = await self._in_flight.wait(request.ticket_id)
        except TemporalUnavailable:
            raise
        except Overloaded:
            # With a time of its own to return.
            raise self._admission.turn_away(Operation.RESERVATION) from None
        except (
            TicketingError,
            PyMongoError,
            WorkflowAlreadyStarted,
            ClientDisconnect,
            CallCancelled,
        ):
            return  # this failure concerns only the other buyer
        if order.seller_id == request.buyer_id:
            raise OwnTicket
        if order.user_id != request.buyer_id:
            raise TicketReserved

    async def _start(
        self,
        order_id: PydanticObjectId,
        request: ReservationRequest,
        ticket: Ticket,
        held_slots: list[HeldSlot],
    ) -> Order:
        """Start the order's workflow and return the order that it created.

        Raises:
            TicketingError: the workflow refused.
            Overloaded: Temporal was not asked.
            ClientDisconnect: likewise, because the client left while it waited for its turn.
            MongoDBUnavailable: a newly elected primary does not have the order yet.
        """
        bind_order_id(order_id)
        slot = choose_slot(held_slots, self._rules.max_reservations, str(order_id))
        if slot is None:
            await self._refuse_too_many(ticket)
        order_input = OrderInput(
            order_id=str(order_id),
            ticket_id=str(ticket.id),
            buyer_id=str(request.buyer_id),
            reservation_ttl=self._rules.reservation_ttl,
            payment_attempts=self._rules.payment_attempts,
            max_reservations=self._rules.max_reservations,
            slot=slot,
            price=request.price,
        )
        offer = Offer(str(ticket.user_id), ticket.price, ticket.currency)
        async with self._admission.reservation(self._while_queued):
            reservation = await self._workflows.reserve(order_input, offer)
        if reservation.refusal is not None:
            raise _error_of(reservation.refusal, reservation.price)
        told = (reservation.ticket_version, reservation.price, reservation.currency)
        if reservation.reserved_at and told == (ticket.version, ticket.price, ticket.currency):
            return created_order(reserve_request(order_input, reservation.reserved_at), ticket)
        # The ticket was edited since, or an older worker does not tell.
        try:
            order = await Order.get(order_id)
            if order is None:
                raise MongoDBUnavailable
        except (MongoDBUnavailable, PyMongoError):
            if not request.is_repeatable:
                await self._cancel_unreported_order(order_id)
            raise
        return order

    async def _cancel_unreported_order(self, order_id: PydanticObjectId) -> None:
        """Cancel an order whose id the client will never learn; if this fails, it expires."""
        with suppress(TicketingError):
            await self._workflows.cancel(order_id)

    async def _repeat_answer(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        """The first answer of this order id; None if the reservation was abandoned."""
        order = await find_buyers_order(request.buyer_id, order_id)
        if order is None or order.status is OrderStatus.CREATED:
            progress = await self._workflows.reservation_progress(order_id)
            if progress.ticket_id != str(request.ticket_id):
                raise IdempotencyKeyReused
            if progress.is_reserving:
                raise RequestInProgress
            order = await find_buyers_order(request.buyer_id, order_id)
        if order is None:
            return await self._repeat_refusal(order_id, request)
        if order.ticket_id != request.ticket_id:
            raise IdempotencyKeyReused
        if order.was_abandoned:
            return None
        # If the first request had had a price other than the order's, there would be no order.
        if request.price not in (None, order.ticket.price):
            raise IdempotencyKeyReused
        return _as_first_answered(order)

    async def _repeat_refusal(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        refusal = await self._workflows.reservation_refusal(order_id)
        if refusal in TRIED_ANEW:
            return None
        ticket = await Ticket.get(request.ticket_id)
        if refusal is ProblemCode.TICKET_RESERVED and ticket is not None:
            return await self._existing_reservation(request, ticket)
        raise error_of(refusal)

    async def _refuse_too_many(self, ticket: Ticket) -> None:
        """Refuse before starting a workflow, unless the ticket is already reserved.

        After a double click, the other request may have reserved it meanwhile.
        """
        now = await Ticket.get(ticket.id)
        if now is not None and now.status is TicketStatus.AVAILABLE:
            raise TooManyReservations

    async def _existing_reservation(
        self, request: ReservationRequest, ticket: Ticket
    ) -> ReservedOrder:
        order = await Order.get(ticket.order_id) if ticket.order_id else None
        if order is None or order.user_id != request.buyer_id or order.status.is_closed:
            raise TicketReserved
        if order.status is OrderStatus.CREATED:
            await self._wait_until_recorded(order)
        if request.price not in (None, order.ticket.price):
            raise PriceChanged(order.ticket.price)
        return ReservedOrder((await with_charges([order]))[0], is_new=False)

    async def _wait_until_recorded(self, order: Order) -> None:
        """Wait for the reservation's final outcome, as the request that made it does."""
        assert order.id is not None  # noqa: S101 - it was read
        progress = await self._workflows.reservation_progress(order.id)
        if not progress.is_reserving:
            return
        try:
            async with self._admission.reservation(self._while_queued):
                reservation = await self._workflows.await_reservation(order.id)
        except Overloaded as error:
            raise Overloaded(error.retry_after, PERHAPS_RESERVED) from None
        if reservation.refusal is not None:
            raise _error_of(reservation.refusal, reservation.price)


def _require_for_sale(ticket: Ticket | None, buyer_id: PydanticObjectId) -> Ticket:
    """The ticket, available or reserved.

    Raises:
        TicketNotFound, OwnTicket, TicketSold: the buyer can never buy it.
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


def _as_first_answered(order: Order) -> ReservedOrder:
    """The order as it was right after the reservation, whatever its status is now."""
    as_reserved = {
        "status": OrderStatus.CREATED,
        "cancel_reason": None,
        "completed_at": None,
        "cancelled_at": None,
    }
    return ReservedOrder(OrderWithCharges(order.model_copy(update=as_reserved)), is_new=True)
