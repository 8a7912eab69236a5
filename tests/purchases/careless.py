"""How it would be done without the guards: look first, act later, and hope.

Each function takes what happens in between, so that a race is lost on purpose and not by luck.
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import stripe
from beanie import PydanticObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from temporalio import activity

from activities import reservations
from activities.orders import BeginPayment
from activities.payments import (
    OUTCOMES,
    AttemptedIntent,
    AuthorizePayment,
    PaymentActivities,
    PaymentState,
    TakenPayment,
)
from activities.reservations import Reservation, ReserveTicket
from api.orders.reservations import ReservationService, ReservedOrder
from api.orders.service import OrderService, OrderWithCharges, get_buyers_order
from api.orders.single_flight import SingleFlight
from api.payments.service import PaymentService
from api.refunds.service import RefundService
from api.temporal.orders import Offer, OrderWorkflowClient
from api.tickets.service import TicketService
from stripe_sandbox.testing import stripe_client
from ticketing.clock import utc_now
from ticketing.errors import (
    OrderCompleted,
    OrderNotCompleted,
    PaymentInProgress,
    RefundRefused,
)
from ticketing.models import Charge, Order, Ticket
from ticketing.payments.gateway import StripeGateway
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus
from workflows.orders import OrderInput

Between = Callable[[], Awaitable[object]]


def reserve(
    between: Between,
) -> Callable[[ReserveTicket, AsyncClientSession], Awaitable[Reservation]]:
    """Instead of `activities.reservations.lock_ticket`: no condition, and no transaction."""

    async def reserve(input: ReserveTicket, _session: AsyncClientSession) -> Reservation:
        ticket = await Ticket.get(PydanticObjectId(input.ticket_id))
        if ticket is None:
            return Reservation(refusal=ProblemCode.TICKET_NOT_FOUND)
        if ticket.order_id is not None:
            return Reservation(refusal=ProblemCode.TICKET_RESERVED)
        await between()
        held = {"order_id": PydanticObjectId(input.order_id)}
        await Ticket.find_one({"_id": ticket.id}).update({"$set": held})
        await reservations.created_order(input, ticket).insert()
        return Reservation(price=ticket.price, currency=ticket.currency)

    return reserve


def reserve_at_any_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price that the buyer was shown is looked at, and no condition of the lock."""
    lock = reservations.lock_ticket

    async def reserve(input: ReserveTicket, session: AsyncClientSession) -> Reservation:
        return await lock(replace(input, price=None), session)

    monkeypatch.setattr(reservations, "lock_ticket", reserve)


def answer_from_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reservation's answer names the price of the ticket that was looked at."""
    seen: dict[str, Offer] = {}
    start, reserve = OrderWorkflowClient.reserve, ReservationService.reserve

    async def remember_and_start(
        client: OrderWorkflowClient, order: OrderInput, offer: Offer
    ) -> Reservation:
        seen[order.order_id] = offer
        return await start(client, order, offer)

    async def answer_as_seen(
        service: ReservationService, *request: Any, **more: Any
    ) -> ReservedOrder:
        reserved = await reserve(service, *request, **more)
        offer = seen[str(reserved.order.order.id)]
        reserved.order.order.ticket.price = offer.price
        return reserved

    monkeypatch.setattr(OrderWorkflowClient, "reserve", remember_and_start)
    monkeypatch.setattr(ReservationService, "reserve", answer_as_seen)


def give_the_same_id_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ticket's id follows from the request that lists it."""

    async def create(
        service: TicketService,
        seller_id: PydanticObjectId,
        title: str,
        price: int,
        key: PydanticObjectId | None = None,
    ) -> Ticket:
        now = utc_now()
        return await Ticket(
            id=key,
            title=title,
            price=price,
            currency=service.currency,
            user_id=seller_id,
            created_at=now,
            updated_at=now,
        ).insert()

    monkeypatch.setattr(TicketService, "create", create)


def let_everybody_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody who sees a ticket free start a workflow at once."""

    async def call_at_once(_: object, _key: object, call: Awaitable[Order]) -> Order:
        return await call

    monkeypatch.setattr(SingleFlight, "is_in_flight", lambda *_: False)
    monkeypatch.setattr(SingleFlight, "run", call_at_once)


def cancel(
    between: Between,
) -> Callable[[OrderService, PydanticObjectId, str], Awaitable[OrderWithCharges]]:
    """Instead of `OrderService.cancel`: the workflow is not asked."""

    async def cancel(
        _service: OrderService, buyer_id: PydanticObjectId, order_id: str
    ) -> OrderWithCharges:
        order = await get_buyers_order(buyer_id, PydanticObjectId(order_id))
        if order.status is OrderStatus.COMPLETED:
            raise OrderCompleted
        await between()
        return OrderWithCharges(await release(order, CancelReason.CANCELLED_BY_BUYER))

    return cancel


def submit(between: Between, gateway: StripeGateway) -> Callable[..., Awaitable[Charge]]:
    """Instead of `PaymentService.submit`: Stripe is asked by the request itself."""

    async def submit(
        _service: PaymentService,
        buyer_id: PydanticObjectId,
        order_id: PydanticObjectId,
        payment_method: str,
        _idempotency_key: str | None,
    ) -> Charge:
        order = await get_buyers_order(buyer_id, order_id)
        if order.status is not OrderStatus.CREATED:
            raise PaymentInProgress
        await between()
        intent = await gateway.authorize(
            order_id=str(order_id),
            attempt=1,
            amount=order.ticket.price,
            currency=order.ticket.currency,
            payment_method=payment_method,
            begun_at=utc_now(),
            idempotency_key=uuid4().hex,
        )
        await gateway.capture(intent.id, idempotency_key=uuid4().hex)
        return Charge(
            id=PydanticObjectId(),
            order_id=order_id,
            attempt=1,
            status=ChargeStatus.COMPLETED,
            amount=intent.amount,
            currency=intent.currency,
            stripe_id=intent.id,
            created_at=utc_now(),
        )

    return submit


def trust_history(patch: pytest.MonkeyPatch, gateway: StripeGateway) -> None:
    """Let the steps at Stripe do what their workflow asks for, whatever the documents say."""

    class Trusting(PaymentActivities):
        @activity.defn
        async def take_payment(self, input: BeginPayment) -> TakenPayment:
            return TakenPayment(await self._orders.begin_payment(input))  # the rest in steps

        @activity.defn
        async def authorize_payment(self, input: AuthorizePayment) -> PaymentState:
            intent = await gateway.authorize(
                order_id=input.order_id,
                attempt=input.attempt,
                amount=input.amount,
                currency=input.currency,
                payment_method=input.payment_method,
                begun_at=input.begun_at,
                idempotency_key=f"{input.order_id}:{input.charge_id}:authorize",
            )
            await Charge.find_one({"_id": PydanticObjectId(input.charge_id)}).update(
                {"$set": {"stripe_id": intent.id, "client_secret": intent.client_secret}}
            )
            return PaymentState(OUTCOMES[intent.status], intent.id)

        @activity.defn
        async def capture_payment(self, input: AttemptedIntent) -> PaymentState:
            intent = await gateway.capture(
                input.intent_id, idempotency_key=f"{input.intent_id}:capture"
            )
            return PaymentState(OUTCOMES[intent.status], intent.id)

    patch.setattr(PaymentActivities, "take_payment", Trusting.take_payment)
    patch.setattr(PaymentActivities, "authorize_payment", Trusting.authorize_payment)
    patch.setattr(PaymentActivities, "capture_payment", Trusting.capture_payment)


def refund(
    between: Between, stripe_url: str
) -> Callable[..., Coroutine[None, None, OrderWithCharges]]:
    """Instead of `RefundService.refund`: Stripe is asked by the request, and without a key."""

    async def refund(
        _service: RefundService,
        _seller_id: PydanticObjectId,
        order_id: str,
        *,
        relist: bool,
        idempotency_key: str | None,
    ) -> OrderWithCharges:
        order = await Order.get(order_id)
        if order is None or order.status is not OrderStatus.COMPLETED:
            raise OrderNotCompleted
        await between()
        charge = await Charge.find_one({"order_id": order.id, "status": ChargeStatus.COMPLETED})
        assert charge is not None
        assert charge.stripe_id is not None
        try:
            async with stripe_client(stripe_url) as client:
                await client.v1.refunds.create_async({"payment_intent": charge.stripe_id})
        except stripe.InvalidRequestError as error:
            raise RefundRefused(error.code) from error
        return OrderWithCharges(await release(order, CancelReason.REFUNDED))

    return refund


async def release(order: Order, reason: CancelReason) -> Order:
    """Cancel the order as it was when it was read, whatever it has become since."""
    order.status, order.cancel_reason, order.cancelled_at = OrderStatus.CANCELLED, reason, utc_now()
    await order.save()
    freed = {"order_id": None, "sold_at": None}
    await Ticket.find_one({"_id": order.ticket_id}).update({"$set": freed})
    return order
