"""Payments: submitted to the order's workflow, which decides them."""

import asyncio
import logging
from contextlib import nullcontext, suppress
from datetime import timedelta

from beanie import PydanticObjectId, UpdateResponse
from pymongo.errors import PyMongoError
from starlette.requests import ClientDisconnect

from api.http.idempotency import derived_id
from api.orders.service import closed_order_error, find_buyers_order, get_buyers_order
from api.payments.charge_feed import ChargeFeed, OrderListener
from api.temporal.admission import Admission, Permit, WhileWaiting
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

logger = logging.getLogger(__name__)

PAY_ROUTE = "POST /api/payments"
"""Part of the ids derived from idempotency keys: must never change."""

CANCEL_FAILURE_CODES = frozenset(CancelReason)
"""The failure codes of charges that failed because their orders were cancelled."""


class PaymentService:
    """Submits payments to the order's workflow and waits for their outcome."""

    def __init__(
        self,
        workflows: OrderWorkflowClient,
        feed: ChargeFeed,
        *,
        wait: timedelta,
        admission: Admission,
        while_waiting: WhileWaiting = nullcontext,
    ) -> None:
        self._workflows = workflows
        self._feed = feed
        self._wait = wait
        self._admission = admission
        self._while_waiting = while_waiting

    async def submit(
        self,
        buyer_id: PydanticObjectId,
        order_id: PydanticObjectId,
        payment_method: str,
        idempotency_key: str | None = None,
    ) -> Charge:
        """Pay for an order; the charge is completed, or still open if the outcome is not known.

        Temporal stores the signal even while no worker runs, so an accepted payment is never
        lost; waiting for the decision is a separate step that may time out. The charge's id is
        derived from the idempotency key, and the workflow accepts each charge only once.

        Raises:
            OrderNotFound: there is no such order, or it is somebody else's.
            CardDeclined: nothing was charged.
            OrderExpired, OrderCancelled, OrderCompleted: the order is closed.
            PaymentInProgress: another payment is being decided. Exception: if that one needs
                authentication, and its answer came too early to say so, it is returned instead.
            IdempotencyKeyReused: the key was first used with another order or payment method.
            RequestInProgress: the first request with the key is not decided yet.
            Overloaded: too much is asked of Temporal, and the payment was not submitted.
            TemporalUnavailable: the payment could not be submitted.
        """
        bind_order_id(order_id)
        async with self._feed.listen(order_id) as changes:
            if idempotency_key is None:
                order = await get_buyers_order(buyer_id, order_id)
                payment = _payment_submitted(PydanticObjectId(), payment_method)
                return await self._pay(order, payment, changes)
            charge_id = derived_id(PAY_ROUTE, buyer_id, idempotency_key)
            payment = _payment_submitted(charge_id, payment_method)
            return await self._pay_or_repeat(buyer_id, order_id, payment, changes)

    async def _pay_or_repeat(
        self,
        buyer_id: PydanticObjectId,
        order_id: PydanticObjectId,
        payment: PaymentSubmitted,
        changes: OrderListener,
    ) -> Charge:
        # Read the order before the charge: beginning a payment writes both in one transaction, so
        # if the order read here awaits this payment, the charge is found as well.
        found = await find_buyers_order(buyer_id, order_id)
        charge = await Charge.get(PydanticObjectId(payment.charge_id))
        if charge is not None:
            return await _first_answer(charge, order_id, payment)
        if found is None:
            raise OrderNotFound
        if _is_overdue(found):
            return await self._find_earlier_submission(found, payment)
        return await self._pay(found, payment, changes)

    async def _pay(self, order: Order, payment: PaymentSubmitted, changes: OrderListener) -> Charge:
        if order.status is OrderStatus.AWAITING_PAYMENT:
            return await _claim_client_secret(order)
        require_payable(order)
        assert order.id is not None  # noqa: S101 - it was read
        async with self._admission.payment(self._while_waiting) as permit:
            try:
                await self._workflows.submit_payment(order.id, payment)
            except WorkflowNotFound:
                # The workflow has just closed; the documents tell how.
                return _require_charge(await _outcome(order, payment), TemporalUnavailable)
            decision = await self._await_decision(order, payment, changes, permit)
        if isinstance(decision, Charge):
            return decision
        try:
            charge = await _outcome(order, payment)
            if charge is None and decision is None:
                await _record_submission(order, payment)
        except PyMongoError as error:
            # Temporal has stored the payment, even if MongoDB does not respond now.
            logger.warning("a payment is stored, but not its state: %s", type(error).__name__)
            return _pending_charge(order, payment)
        if charge is None and decision is PaymentDecision.REFUSED:
            raise PaymentInProgress
        return charge or _pending_charge(order, payment)

    async def _await_decision(
        self, order: Order, payment: PaymentSubmitted, changes: OrderListener, permit: Permit
    ) -> Charge | PaymentDecision | None:
        """The payment's charge, decided, or what the workflow says if another payment came first.

        None if neither is known when the time is over, or the client has left.
        """
        with suppress(TimeoutError, ClientDisconnect):
            async with self._while_waiting(), asyncio.timeout(self._wait.total_seconds()):
                charge = await self._decided_charge(order, payment, changes, permit)
                if charge is not None:
                    return charge
                assert order.id is not None  # noqa: S101 - it was read
                return await self._workflows.payment_decision(
                    order.id, payment.charge_id, self._wait
                )
        return None

    async def _decided_charge(
        self, order: Order, payment: PaymentSubmitted, changes: OrderListener, permit: Permit
    ) -> Charge | None:
        """Wait for the payment's charge, decided; None if another payment came first.

        Only the workflow knows whether it will take this one after that one.
        """
        while True:
            charge = await changes.next()
            if charge is None:
                with suppress(PyMongoError):
                    charge = await _outcome(order, payment)
                    if charge is not None and _is_decided(charge):
                        return charge
            elif str(charge.id) == payment.charge_id:
                permit.release()  # a worker has begun it, and from now on it waits for Stripe
                if _is_decided(charge):
                    _refuse_another_request(charge, order.id, payment)
                    return await _charge_or_failure(charge)
            elif not _is_decided(charge):
                return None

    async def _find_earlier_submission(self, order: Order, payment: PaymentSubmitted) -> Charge:
        """After the deadline submit nothing, but look for an earlier request with the same key."""
        assert order.id is not None  # noqa: S101 - it was read
        await self._workflows.payment_decision(order.id, payment.charge_id, self._wait)
        return _require_charge(await _outcome(order, payment), RequestInProgress)


def _payment_submitted(charge_id: PydanticObjectId, payment_method: str) -> PaymentSubmitted:
    return PaymentSubmitted(charge_id=str(charge_id), payment_method=payment_method)


async def _outcome(order: Order, payment: PaymentSubmitted) -> Charge | None:
    """The payment's charge, or the error why there is none; None if that is not known yet."""
    charge_id = PydanticObjectId(payment.charge_id)
    charge = await Charge.get(charge_id)
    if charge is None:
        # In this order, because an order's charges are written before it is closed.
        now = await Order.get(order.id) or order
        charge = await Charge.get(charge_id)
        if charge is None:
            _refuse_closed(now)
            return None
    _refuse_another_request(charge, order.id, payment)
    return await _charge_or_failure(charge)


async def _record_submission(order: Order, payment: PaymentSubmitted) -> None:
    """Record that Temporal has stored a payment which no worker has processed yet."""
    charges = await Charge.find({"order_id": order.id}).to_list()
    if payment.charge_id in {str(charge.id) for charge in charges}:
        return  # processed a moment ago
    await Order.find_one({"_id": order.id, "status": OrderStatus.CREATED}).update(
        {"$set": {"submitted_attempt": len(charges) + 1}}
    )


async def _first_answer(
    charge: Charge, order_id: PydanticObjectId, payment: PaymentSubmitted
) -> Charge:
    """The answer to the first request with the key, or its answer by now."""
    _refuse_another_request(charge, order_id, payment)
    if not _is_decided(charge):
        raise RequestInProgress
    answered = await _charge_or_failure(charge)
    answered.stripe_refund_id = None  # a later refund is not part of the first answer
    return answered


def _is_decided(charge: Charge) -> bool:
    """Whether there is an answer for the buyer: the bank's wish to be asked is one."""
    return charge.status is not ChargeStatus.CREATED or charge.client_secret is not None


def _refuse_another_request(
    charge: Charge, order_id: PydanticObjectId | None, payment: PaymentSubmitted
) -> None:
    """Refuse a key that was first used with another order or payment method."""
    paid_with = charge.payment_method or payment.payment_method
    if (charge.order_id, paid_with) != (order_id, payment.payment_method):
        raise IdempotencyKeyReused


async def _charge_or_failure(charge: Charge) -> Charge:
    """The charge, recording that its client secret is shown; or the error why it failed."""
    if charge.status is ChargeStatus.FAILED:
        raise _failure_error(charge)
    if charge.client_secret is not None:
        await Charge.find_one({"_id": charge.id}).update({"$set": {"client_secret_shown": True}})
    return charge


def _failure_error(charge: Charge) -> TicketingError:
    """The error of a failed charge, whatever the order's status is now."""
    if charge.failure_code == CancelReason.EXPIRED:
        return OrderExpired()
    if charge.failure_code in CANCEL_FAILURE_CODES:
        return OrderCancelled()  # not because of the card
    return CardDeclined(charge.failure_code or "generic_decline")


async def _claim_client_secret(order: Order) -> Charge:
    """The charge that needs authentication; its client secret is shown to one request only."""
    charge = await Charge.find_one(
        {"order_id": order.id, "client_secret": {"$ne": None}, "client_secret_shown": {"$ne": True}}
    ).update({"$set": {"client_secret_shown": True}}, response_type=UpdateResponse.NEW_DOCUMENT)
    if not isinstance(charge, Charge):
        raise PaymentInProgress
    return charge


def _refuse_closed(order: Order) -> None:
    if order.status.is_closed:
        raise closed_order_error(order)


def require_payable(order: Order) -> None:
    """Refuse what the workflow would refuse as well, without a signal."""
    _refuse_closed(order)
    if _is_overdue(order):
        raise OrderExpired


def _is_overdue(order: Order) -> bool:
    """Whether the order is past its deadline, but not closed yet, and has no open payment."""
    return order.status is OrderStatus.CREATED and order.expires_at <= utc_now()


def _require_charge(charge: Charge | None, otherwise: type[TicketingError]) -> Charge:
    if charge is None:
        raise otherwise
    return charge


def _pending_charge(order: Order, payment: PaymentSubmitted) -> Charge:
    """The charge that the workflow will create; Temporal has stored the payment."""
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
