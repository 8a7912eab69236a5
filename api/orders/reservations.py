"""Reservations: made for buyers, and found again; the workflow decides."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from beanie import PydanticObjectId
from pymongo.errors import PyMongoError
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.reservations import Reservation, free_slot
from api.http.idempotency import derived_ids
from api.orders.refusal_counter import RefusedOrders
from api.orders.service import (
    WORKFLOW_WAIT_SECONDS,
    OrderWithCharges,
    order_handle,
    order_under,
    with_charges,
)
from api.orders.ticket_turns import TicketTurns, Turn
from api.temporal.orders import Offer, order_start
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
)
from ticketing.models import Order, Ticket
from ticketing.observability.logs import bind_order_id
from ticketing.problem_codes import ProblemCode
from ticketing.settings import PurchaseSettings
from ticketing.statuses import OrderStatus, TicketStatus
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import OrderInput, OrderState, OrderWorkflow
from workflows.search_attributes import ORDER_STATUS, TICKET_ID

RESERVE_ROUTE = "POST /api/orders"
"""Part of the ids that follow from an idempotency key: never to be changed."""

REFUSALS: dict[ProblemCode, type[TicketingError]] = {
    ProblemCode.TICKET_NOT_FOUND: TicketNotFound,
    ProblemCode.TICKET_RESERVED: TicketReserved,
    ProblemCode.TICKET_SOLD: TicketSold,
    ProblemCode.OWN_TICKET: OwnTicket,
    ProblemCode.TOO_MANY_RESERVATIONS: TooManyReservations,
    ProblemCode.TEMPORAL_UNAVAILABLE: TemporalUnavailable,
}
"""All but `PRICE_CHANGED`, which says more than its name."""

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


class ReservationService:
    """Holds tickets for buyers, each under an order of its own."""

    def __init__(
        self,
        temporal: Client,
        *,
        task_queue: str,
        rules: PurchaseSettings,
        refused_orders: RefusedOrders,
        turns: TicketTurns,
    ) -> None:
        self._temporal = temporal
        self._turns = turns
        self._refused_orders = refused_orders
        self._task_queue = task_queue
        self._rules = rules

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
        # The ticket before the order: a reservation writes both at once, so a ticket that is
        # seen to be reserved under this id has an order that is seen too.
        ticket = await Ticket.get(request.ticket_id)
        if await order_under(order_id, request.buyer_id) is None:
            with suppress(WorkflowAlreadyStartedError):
                return await self._or_count(self._reserve_seen(order_id, request, ticket))
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
        # In a rush most are told here, and the database is not asked about the ticket.
        while ahead := self._turns.ahead(request.ticket_id):
            await _stand_behind(ahead, request.buyer_id)
        return await self._reserve_seen(order_id, request, await Ticket.get(request.ticket_id))

    async def _reserve_seen(
        self, order_id: PydanticObjectId, request: ReservationRequest, ticket: Ticket | None
    ) -> ReservedOrder:
        buyer_id = request.buyer_id
        ticket = _for_sale(ticket, buyer_id)
        while ticket.status is not TicketStatus.RESERVED and (
            ahead := self._turns.ahead(ticket.id)
        ):
            await _stand_behind(ahead, buyer_id)
            ticket = _for_sale(await Ticket.get(ticket.id), buyer_id)
            if ticket.order_id == order_id:
                raise _already_started(order_id)
        if ticket.status is TicketStatus.RESERVED:
            # Answered without a workflow, so a rush for one ticket costs next to nothing.
            return await self._held_by(request, ticket)
        if request.price not in (None, ticket.price):
            raise PriceChanged(ticket.price)
        reservation = await self._start_ahead(order_id, request, ticket)
        if reservation.refusal is ProblemCode.TICKET_RESERVED:
            return await self._held_by(request, _for_sale(await Ticket.get(ticket.id), buyer_id))
        if reservation.refusal is not None:
            raise _error_of(reservation.refusal, reservation.price)
        try:
            return _first_answer(await _recorded_order(order_id))
        except (MongoDBUnavailable, PyMongoError):
            if not request.is_repeatable:
                await self._give_back(order_id)
            raise

    async def _give_back(self, order_id: PydanticObjectId) -> None:
        """Cancel an order that its buyer will never hear of; unheard, it expires."""
        with suppress(TemporalUnavailable, RPCError):
            async with _reservation_in_time():
                await order_handle(self._temporal, order_id).execute_update(OrderWorkflow.cancel)

    async def _repeat(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        """What the first request under this id was answered; None if it was abandoned."""
        order = await order_under(order_id, request.buyer_id)
        if order is None or order.status is OrderStatus.CREATED:
            await self._refuse_while_reserving(order_id, request.ticket_id)
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

    async def _refuse_while_reserving(
        self, order_id: PydanticObjectId, ticket_id: PydanticObjectId
    ) -> None:
        async with _reservation_in_time():
            execution = await order_handle(self._temporal, order_id).describe()
        if execution.typed_search_attributes.get(TICKET_ID) != str(ticket_id):
            raise IdempotencyKeyReused
        if _is_reserving(execution):
            raise RequestInProgress

    async def _repeat_refusal(
        self, order_id: PydanticObjectId, request: ReservationRequest
    ) -> ReservedOrder | None:
        try:
            refusal = (await order_handle(self._temporal, order_id).result()).refusal
        except WorkflowFailureError:
            return None  # an operator terminated it
        if refusal in LEAVES_NO_TRACE:
            return None
        ticket = await Ticket.get(request.ticket_id)
        if refusal is ProblemCode.TICKET_RESERVED and ticket is not None:
            return await self._held_by(request, ticket)
        raise REFUSALS[refusal]

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
        handle = order_handle(self._temporal, order.id)
        async with _reservation_in_time():
            if not _is_reserving(await handle.describe()):
                return
            reservation = await handle.execute_update(OrderWorkflow.reserve)
        if reservation.refusal is not None:
            raise _error_of(reservation.refusal, reservation.price)

    async def _start_ahead(
        self, order_id: PydanticObjectId, request: ReservationRequest, ticket: Ticket
    ) -> Reservation:
        with self._turns.go_ahead(ticket.id, ticket.user_id) as turn:
            slot = await self._free_slot(order_id, request.buyer_id, ticket)
            reservation = await self._start(order_id, request, ticket, slot)
            if reservation.refusal is None:
                turn.holder = request.buyer_id
            elif reservation.refusal is ProblemCode.TEMPORAL_UNAVAILABLE:
                raise TemporalUnavailable
        return reservation

    async def _start(
        self,
        order_id: PydanticObjectId,
        request: ReservationRequest,
        ticket: Ticket,
        slot: int | None,
    ) -> Reservation:
        bind_order_id(order_id)
        start = order_start(
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
            self._task_queue,
        )
        try:
            async with _reservation_in_time():
                return await self._temporal.execute_update_with_start_workflow(
                    OrderWorkflow.reserve, start_workflow_operation=start
                )
        finally:
            await _hear_out(start)


@asynccontextmanager
async def _reservation_in_time() -> AsyncIterator[None]:
    """Wait a while for the workflow's answer, and no longer.

    Raises:
        TemporalUnavailable: there is none, and will be none: a worker that comes later makes no
            reservation that nobody waits for, and an operator may have terminated the workflow.
    """
    try:
        async with asyncio.timeout(WORKFLOW_WAIT_SECONDS):
            yield
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, WorkflowUpdateFailedError):
        raise TemporalUnavailable from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise TemporalUnavailable from None


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


async def _stand_behind(turn: Turn, buyer_id: PydanticObjectId) -> None:
    """Wait until the turn is over, and refuse whoever gets nothing after it."""
    if turn.seller_id == buyer_id:
        raise OwnTicket
    await turn.over.wait()
    if turn.outage is not None:
        raise TemporalUnavailable
    if turn.holder not in (None, buyer_id):
        raise TicketReserved


def _error_of(refusal: ProblemCode, price: int) -> TicketingError:
    """The refusal as the API says it; the price is the ticket's."""
    return PriceChanged(price) if refusal is ProblemCode.PRICE_CHANGED else REFUSALS[refusal]()


async def _recorded_order(order_id: PydanticObjectId) -> Order:
    """The order of a reservation that was made: what the ticket's lock was taken for.

    Raises:
        MongoDBUnavailable: a primary that was elected a moment ago does not show it yet.
    """
    order = await Order.get(order_id)
    if order is None:
        raise MongoDBUnavailable
    return order


def _already_started(order_id: PydanticObjectId) -> WorkflowAlreadyStartedError:
    """What Temporal says to the same request, come again meanwhile."""
    return WorkflowAlreadyStartedError(order_workflow_id(str(order_id)), OrderWorkflow.__name__)


def _is_reserving(execution: WorkflowExecutionDescription) -> bool:
    """Whether the reservation, made or not, is still missing from the workflow's history.

    The order's status is set by the very task that records it. Before that, an order in the
    database is no promise: whoever takes over from a lost worker may undo it.
    """
    is_recorded = execution.typed_search_attributes.get(ORDER_STATUS) is not None
    return execution.status is WorkflowExecutionStatus.RUNNING and not is_recorded


def _first_answer(order: Order) -> ReservedOrder:
    """The order as it was when the ticket was reserved, whatever has become of it since."""
    as_reserved = {
        "status": OrderStatus.CREATED,
        "cancel_reason": None,
        "completed_at": None,
        "cancelled_at": None,
    }
    return ReservedOrder(OrderWithCharges(order.model_copy(update=as_reserved)), is_new=True)


async def _hear_out(start: WithStartWorkflowOperation[OrderWorkflow, OrderState]) -> None:
    """Take the start's own outcome, or asyncio complains that its failure was never heard."""
    outcome = asyncio.ensure_future(start.workflow_handle())
    await asyncio.wait([outcome], timeout=0.1)
    if not outcome.cancel() and not outcome.cancelled():
        outcome.exception()
