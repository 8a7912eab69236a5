"""Payments: submitted as a fact, decided by the order's workflow."""

from datetime import timedelta

from beanie import PydanticObjectId, UpdateResponse
from pymongo.errors import PyMongoError

from api.http.idempotency import derived_id
from api.orders.service import closed_order_error, order_of
from api.temporal.errors import WorkflowNotFound
from api.temporal.orders import OrderWorkflowClient
from ticketing.clock import utc_now
from ticketing.errors import (
    CardDeclined,
    IdempotencyKeyReused,
    OrderCancelled,
    OrderExpired,
    OrderNotFound,
    PaymentInProgress,
    RequestInProgress,
    TemporalUnavailable,
    TicketingError,
)
from ticketing.models import Charge, Order
from ticketing.observability.logs import bind_order_id
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus
from workflows.orders import PaymentDecision, PaymentSubmitted

PAY_ROUTE = "POST /api/payments"
"""Part of the ids that follow from an idempotency key: never to be changed."""

CANCELLATIONS = frozenset(CancelReason)
"""The failure codes of charges that were given up because their orders were."""


class PaymentService:
    """Takes payments to the order's workflow and waits a while for what becomes of them."""

    def __init__(self, workflows: OrderWorkflowClient, *, wait: timedelta) -> None:
        self._workflows = workflows
        self._wait = wait

    async def submit(
        self,
        buyer_id: PydanticObjectId,
        order_id: PydanticObjectId,
        payment_method: str,
        idempotency_key: str | None = None,
    ) -> Charge:
        """Pay for an order; the charge is completed, or still open if the answer is not known.

        The signal is stored by Temporal even while no worker runs, so a payment that was taken
        is never lost; waiting for the decision is a second, separate step that may give up.
        A key gives the charge its id, and the workflow takes a charge only once.

        Raises:
            OrderNotFound: there is none, or it is somebody else's.
            CardDeclined: nothing was charged.
            OrderExpired, OrderCancelled, OrderCompleted: the order is closed.
            PaymentInProgress: another payment is being decided. But where the bank wants the
                buyer and Stripe was too slow for the first answer to say so, this one does.
            IdempotencyKeyReused: the key came first with another order or payment method.
            RequestInProgress: the first request with the key is not decided yet.
            TemporalUnavailable: the payment could not be handed over.
        """
        bind_order_id(order_id)
        if idempotency_key is None:
            order = await order_of(buyer_id, order_id)
            return await self._pay(order, _submitted(PydanticObjectId(), payment_method))
        payment = _submitted(derived_id(PAY_ROUTE, buyer_id, idempotency_key), payment_method)
        # The order before the charge: a payment that begins changes both at once, so an order
        # that is seen to await this payment has a charge that is seen too.
        found = await Order.find_one({"_id": order_id, "user_id": buyer_id})
        charge = await Charge.get(PydanticObjectId(payment.charge_id))
        if charge is not None:
            return await _first_answer(charge, order_id, payment)
        if found is None:
            raise OrderNotFound
        if _is_overdue(found):
            return await self._ask_whether_in_time(found, payment)
        return await self._pay(found, payment)

    async def _pay(self, order: Order, payment: PaymentSubmitted) -> Charge:
        if order.status is OrderStatus.AWAITING_PAYMENT:
            return await _show_client_secret(order)
        _refuse_unpayable(order)
        assert order.id is not None  # noqa: S101 - it was read
        try:
            await self._workflows.submit_payment(order.id, payment)
        except WorkflowNotFound:
            # The workflow has just closed, and the documents say how.
            return _known(await _outcome(order, payment), TemporalUnavailable)
        decision = await self._workflows.payment_decision(order.id, payment.charge_id, self._wait)
        try:
            charge = await _outcome(order, payment)
            if charge is None and decision is None:
                await _note_submission(order)
        except PyMongoError:
            # The payment is on record at Temporal, whatever MongoDB can say of it now.
            return _not_taken_up_yet(order, payment)
        if charge is None and decision is PaymentDecision.REFUSED:
            raise PaymentInProgress
        return charge or _not_taken_up_yet(order, payment)

    async def _ask_whether_in_time(self, order: Order, payment: PaymentSubmitted) -> Charge:
        """Submit nothing after the deadline; but the first request may have come before it."""
        assert order.id is not None  # noqa: S101 - it was read
        await self._workflows.payment_decision(order.id, payment.charge_id, self._wait)
        return _known(await _outcome(order, payment), RequestInProgress)


def _submitted(charge_id: PydanticObjectId, payment_method: str) -> PaymentSubmitted:
    return PaymentSubmitted(charge_id=str(charge_id), payment_method=payment_method)


async def _outcome(order: Order, payment: PaymentSubmitted) -> Charge | None:
    """The payment's charge, or why there is none; None if the documents do not say yet."""
    charge_id = PydanticObjectId(payment.charge_id)
    charge = await Charge.get(charge_id)
    if charge is None:
        # In this order: what closes an order has written its charge before.
        now = await Order.get(order.id) or order
        charge = await Charge.get(charge_id)
        if charge is None:
            _refuse_closed(now)
            return None
    _refuse_another_request(charge, order.id, payment)
    return await _told(charge)


async def _note_submission(order: Order) -> None:
    """Record that Temporal holds a payment which no worker has taken up yet."""
    attempts = await Charge.find({"order_id": order.id}).count()
    await Order.find_one({"_id": order.id, "status": OrderStatus.CREATED}).update(
        {"$set": {"submitted_attempt": attempts + 1}}
    )


async def _first_answer(
    charge: Charge, order_id: PydanticObjectId, payment: PaymentSubmitted
) -> Charge:
    """What the first request with the key was told, or would be told by now."""
    _refuse_another_request(charge, order_id, payment)
    if charge.status is ChargeStatus.CREATED and charge.client_secret is None:
        raise RequestInProgress
    told = await _told(charge)
    told.stripe_refund_id = None  # a later refund was no part of it
    return told


def _refuse_another_request(
    charge: Charge, order_id: PydanticObjectId | None, payment: PaymentSubmitted
) -> None:
    """Refuse a key that came first with another order or another payment method."""
    paid_with = charge.payment_method or payment.payment_method
    if (charge.order_id, paid_with) != (order_id, payment.payment_method):
        raise IdempotencyKeyReused


async def _told(charge: Charge) -> Charge:
    """The charge for its buyer, who is given the client secret with it; or why it failed."""
    if charge.status is ChargeStatus.FAILED:
        raise _failure_of(charge)
    if charge.client_secret is not None:
        await Charge.find_one({"_id": charge.id}).update({"$set": {"client_secret_shown": True}})
    return charge


def _failure_of(charge: Charge) -> TicketingError:
    """Why it failed, whatever has become of its order since."""
    if charge.failure_code == CancelReason.EXPIRED:
        return OrderExpired()
    if charge.failure_code in CANCELLATIONS:
        return OrderCancelled()  # not the card's fault: somebody cancelled
    return CardDeclined(charge.failure_code or "generic_decline")


async def _show_client_secret(order: Order) -> Charge:
    """The charge for which the bank wants the buyer, once: whoever asks second is refused."""
    charge = await Charge.find_one(
        {"order_id": order.id, "client_secret": {"$ne": None}, "client_secret_shown": {"$ne": True}}
    ).update({"$set": {"client_secret_shown": True}}, response_type=UpdateResponse.NEW_DOCUMENT)
    if not isinstance(charge, Charge):
        raise PaymentInProgress
    return charge


def _refuse_closed(order: Order) -> None:
    if order.status.is_closed:
        raise closed_order_error(order)


def _refuse_unpayable(order: Order) -> None:
    """Refuse what the workflow would refuse too, without asking it."""
    _refuse_closed(order)
    if _is_overdue(order):
        raise OrderExpired


def _is_overdue(order: Order) -> bool:
    """Whether the order is past its deadline, and nobody has closed it or begun a payment."""
    return order.status is OrderStatus.CREATED and order.expires_at <= utc_now()


def _known(charge: Charge | None, otherwise: type[TicketingError]) -> Charge:
    if charge is None:
        raise otherwise
    return charge


def _not_taken_up_yet(order: Order, payment: PaymentSubmitted) -> Charge:
    """The charge that the workflow will make; Temporal holds the payment until then."""
    return Charge(
        id=PydanticObjectId(payment.charge_id),
        order_id=order.id,
        attempt=1,
        status=ChargeStatus.CREATED,
        amount=order.ticket.price,
        currency=order.ticket.currency,
        payment_method=payment.payment_method,
        created_at=utc_now(),
    )
