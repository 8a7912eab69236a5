"""Payments: submitted as a fact, decided by the order's workflow."""

import asyncio
from datetime import timedelta
from itertools import takewhile

from beanie import PydanticObjectId, UpdateResponse
from pymongo.errors import PyMongoError
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from api.http.idempotency import derived_id
from api.orders.service import closed_order_error, order_handle, order_of
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
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import (
    PAYMENT_SUBMITTED,
    OrderState,
    OrderWorkflow,
    PaymentDecision,
    PaymentSubmitted,
)

PAY_ROUTE = "POST /api/payments"
"""Part of the ids that follow from an idempotency key: never to be changed."""

CANCELLATIONS = frozenset(CancelReason)
"""The failure codes of charges that were given up because their orders were."""

TASK_STARTED = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
TASK_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
TASK_STATES = (
    TASK_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
)

NEWEST_EVENTS = 20
"""More than come behind the last task that a worker has completed."""
HISTORY_TIMEOUT = timedelta(seconds=2)


class PaymentService:
    """Takes payments to the order's workflow and waits a while for what becomes of them."""

    def __init__(self, temporal: Client, *, wait: timedelta) -> None:
        self._temporal = temporal
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

    async def waits_for_worker(self, order: Order) -> bool | None:
        """Whether Temporal holds a payment of the order that no worker has looked at yet.

        No document shows it, and no worker can be asked. But the signal is in the workflow's
        history, behind the last task that was completed. None if that cannot be known now: Temporal
        does not say, or a worker is at a task, and what comes meanwhile is recorded after it.
        """
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._temporal.namespace,
            execution=WorkflowExecution(workflow_id=order_workflow_id(str(order.id))),
            maximum_page_size=NEWEST_EVENTS,
        )
        try:
            answer = await self._temporal.workflow_service.get_workflow_execution_history_reverse(
                request, timeout=HISTORY_TIMEOUT
            )
        except (RPCError, RuntimeError):
            return None
        newest = list(
            takewhile(lambda event: event.event_type != TASK_COMPLETED, answer.history.events)
        )
        signals = [e.workflow_execution_signaled_event_attributes.signal_name for e in newest]
        if PAYMENT_SUBMITTED in signals:
            return True
        tasks = [event.event_type for event in newest if event.event_type in TASK_STATES]
        return None if tasks[:1] == [TASK_STARTED] else False

    async def _pay(self, order: Order, payment: PaymentSubmitted) -> Charge:
        if order.status is OrderStatus.AWAITING_PAYMENT:
            return await _show_client_secret(order)
        _refuse_unpayable(order)
        handle = self._handle(order)
        try:
            await handle.signal(PAYMENT_SUBMITTED, payment)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # The workflow has just closed, and the documents say how.
            return _known(await _outcome(order, payment), TemporalUnavailable)
        decision = await self._decision(handle, payment)
        try:
            charge = await _outcome(order, payment)
        except PyMongoError:
            # The payment is on record at Temporal, whatever MongoDB can say of it now.
            return _not_taken_up_yet(order, payment)
        if charge is None and decision is PaymentDecision.REFUSED:
            raise PaymentInProgress
        return charge or _not_taken_up_yet(order, payment)

    async def _ask_whether_in_time(self, order: Order, payment: PaymentSubmitted) -> Charge:
        """Submit nothing after the deadline; but the first request may have come before it."""
        await self._decision(self._handle(order), payment)
        return _known(await _outcome(order, payment), RequestInProgress)

    def _handle(self, order: Order) -> WorkflowHandle[OrderWorkflow, OrderState]:
        assert order.id is not None  # noqa: S101 - it was read
        return order_handle(self._temporal, order.id)

    async def _decision(
        self, handle: WorkflowHandle[OrderWorkflow, OrderState], payment: PaymentSubmitted
    ) -> PaymentDecision | None:
        """What the workflow says of the payment, or None if that is not known in time."""
        try:
            async with asyncio.timeout(self._wait.total_seconds()):
                return await handle.execute_update(
                    OrderWorkflow.await_payment_decision, payment.charge_id
                )
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            return None
        except (WorkflowUpdateFailedError, RPCError):
            # Closed before it could answer, or Temporal is away: the documents say the rest.
            return None


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
