"""Payments at Stripe: each step is retried under one idempotency key until Stripe answers."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from temporalio import activity

from activities.orders import BeginPayment, BegunPayment, OrderActivities
from ticketing.clock import to_milliseconds
from ticketing.models import Charge, Order, append_to_timeline, timeline_entry
from ticketing.mongodb import BSONDocument, has_matched
from ticketing.payments.fence import PaymentFence
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.idempotency_keys import idempotency_key
from ticketing.payments.intents import FINAL_STATUSES, IntentStatus, PaymentIntent, PaymentRefused
from ticketing.statuses import ChargeStatus, OrderStatus, TimelineCode


class PaymentOutcome(StrEnum):
    """The state of a payment attempt at Stripe."""

    AUTHENTICATION_REQUIRED = "authentication_required"
    """The bank wants the buyer."""
    AUTHORIZED = "authorized"
    """The amount is set aside and can be captured."""
    CAPTURED = "captured"
    DECLINED = "declined"
    """No money; the intent may still be open at Stripe."""
    CANCELLED = "cancelled"
    """No money, and never will be under this intent."""
    FORBIDDEN = "forbidden"
    """No money: the order does not hold its ticket any more, or is closed."""


@dataclass(frozen=True)
class PaymentState:
    """What Stripe answered; never a client secret, for it is kept in the history."""

    outcome: PaymentOutcome
    intent_id: str | None = None
    """Absent only where there is no intent at all."""
    failure_code: str | None = None


@dataclass(frozen=True)
class AuthorizePayment:
    """One attempt to set the order's price aside on the buyer's card."""

    order_id: str
    charge_id: str
    attempt: int
    amount: int
    """In the currency's minor unit."""
    currency: str
    payment_method: str
    begun_at: datetime
    """When this was decided; after a reset later than the charge was made, and its intent."""


@dataclass(frozen=True)
class AttemptedIntent:
    """The payment intent of an order's attempt."""

    order_id: str
    attempt: int
    intent_id: str
    amount: int
    """The order's price, in the currency's minor unit."""


@dataclass(frozen=True)
class TakenPayment:
    """How far a payment came at the first try."""

    begun: BegunPayment
    state: PaymentState | None = None
    """None where Stripe was not asked, because the payment was not begun by this call."""


class UnexpectedPaymentState(Exception):
    """Stripe holds an intent in a state that no step of ours leads to; retried, and seen."""


REFUSAL_IS_FINAL_AFTER = 5
"""After this many tries of a step, a refusal by Stripe is taken as final."""

CAPTURED_ELSEWHERE = "captured_elsewhere"
"""The failure code of an intent that somebody captured by hand and refunded."""


class PaymentActivities:
    """Every method may run twice: Stripe answers a known idempotency key as it did before."""

    def __init__(
        self,
        mongo: AsyncMongoClient[BSONDocument],
        gateway: StripeGateway,
        orders: OrderActivities,
    ) -> None:
        self._fence = PaymentFence(mongo)
        self._gateway = gateway
        self._orders = orders

    @activity.defn
    async def authorize_payment(self, input: AuthorizePayment) -> PaymentState:
        """Authorize the order's price and note the intent on the charge.

        Safe to run twice: the key makes Stripe repeat its first answer, and an intent that the
        charge names already is read rather than made, since Stripe forgets keys after a day.
        The timeline gets one entry for an attempt's authentication, which is the write's
        condition. The client secret goes to the charge and nowhere else. For an order that may
        not be paid any more, nothing is authorized, and an existing authorization is cancelled.
        """
        charge = await self._fence.before_authorization(
            input.order_id, input.charge_id, input.amount, input.currency
        )
        if charge is None:
            return await self._forbid(await self._existing_intent_id(input), input)
        if charge.stripe_id is not None:
            intent = await self._read_own(charge.stripe_id, input.order_id)
        else:
            try:
                intent = await self._make_intent(input, charge.created_at)
            except PaymentRefused as refused:
                return _declined(refused)
        return await self._note(intent, input)

    @activity.defn
    async def take_payment(self, input: BeginPayment) -> TakenPayment:
        """Begin the payment, authorize it and capture it, as far as nothing interrupts that.

        The first hindrance ends it: a payment that was begun before, a bank that wants the buyer, a
        decline, a refused capture. Each call has the idempotency key that it has in the steps, so
        a workflow that takes them next, perhaps beside a worker that was thought dead, repeats
        nothing.
        """
        begun = await self._orders.begin_payment(input)
        if not begun.is_new:
            return TakenPayment(begun)
        return TakenPayment(begun, await self._authorize_and_capture(_authorization(input)))

    async def _authorize_and_capture(self, input: AuthorizePayment) -> PaymentState:
        """Take a payment that has just been begun, so that it needs no fence before it."""
        try:
            intent = await self._make_intent(input, to_milliseconds(input.begun_at))
        except PaymentRefused as refused:
            return _declined(refused)
        if intent.status is not IntentStatus.REQUIRES_CAPTURE:
            return await self._note(intent, input)
        attempted = AttemptedIntent(input.order_id, input.attempt, intent.id, input.amount)
        if not await self._may_capture(attempted):
            return await self._forbid(intent.id, input)
        with suppress(PaymentRefused):
            captured = await self._capture(attempted)
            if captured.status in FINAL_STATUSES:
                return await self._state_of(captured, input.amount)
        return await self._state_of(intent, input.amount)

    async def _make_intent(self, input: AuthorizePayment, begun_at: datetime) -> PaymentIntent:
        return await self._gateway.authorize(
            order_id=input.order_id,
            attempt=input.attempt,
            amount=input.amount,
            currency=input.currency,
            payment_method=input.payment_method,
            begun_at=begun_at,
            idempotency_key=idempotency_key(input.order_id, input.attempt, "authorize"),
        )

    async def _note(self, intent: PaymentIntent, input: AuthorizePayment) -> PaymentState:
        """Note the intent on its charge; given up if that was closed while Stripe was asked."""
        needs_authentication = intent.status is IntentStatus.REQUIRES_ACTION
        if needs_authentication:
            # Before the charge is written: a run in between finds Stripe's first answer again.
            await _record_authentication_required(input)
        noted = await Charge.find_one(
            {"_id": PydanticObjectId(input.charge_id), "status": ChargeStatus.CREATED}
        ).update(
            # Never unset: a run that was frozen may end after the bank has approved, and the
            # API signals Stripe's event about that only while the secret is stored.
            {
                "$set": {"stripe_id": intent.id}
                | ({"client_secret": intent.client_secret} if needs_authentication else {})
            }
        )
        if not has_matched(noted):
            return await self._forbid(intent.id, input)
        return await self._state_of(intent, input.amount)

    @activity.defn
    async def read_payment(self, input: AttemptedIntent) -> PaymentState:
        """Read the attempt's state at Stripe. Safe to run twice: it only reads."""
        return await self._state_of(await self._gateway.read(input.intent_id), input.amount)

    @activity.defn
    async def capture_payment(self, input: AttemptedIntent) -> PaymentState:
        """Capture the authorized payment, if the order still holds its ticket.

        Safe to run twice: an intent is captured once, and stays captured. One that Stripe refuses
        to capture is cancelled, since its ticket is about to be released; that is retried until
        Stripe has done it, since another try of this step may still capture.
        """
        if not await self._may_capture(input):
            return await self._forbid(input.intent_id, input)
        try:
            intent = await self._capture(input)
        except PaymentRefused as refused:
            code: str | None = _final_refusal_code(refused)
        else:
            if intent.status in FINAL_STATUSES:
                return await self._state_of(intent, input.amount)
            code = intent.failure_code
        intent = await self._cancel(input)
        return await self._state_of(
            replace(intent, failure_code=intent.failure_code or code), input.amount
        )

    async def _may_capture(self, input: AttemptedIntent) -> bool:
        return await self._fence.before_capture(
            input.order_id, input.attempt, input.intent_id, input.amount
        )

    async def _capture(self, input: AttemptedIntent) -> PaymentIntent:
        return await self._gateway.capture(
            input.intent_id,
            idempotency_key=idempotency_key(input.order_id, input.attempt, "capture"),
        )

    @activity.defn
    async def cancel_payment_intent(self, input: AttemptedIntent) -> PaymentState:
        """Make sure that nothing can be paid under the intent any more, unless it just was.

        Asks before it cancels: a buyer who has authenticated by now gets the ticket rather
        than a cancelled order. Safe to run twice: canceled before is canceled.
        """
        intent = await self._gateway.read(input.intent_id)
        if intent.status not in (
            IntentStatus.REQUIRES_CAPTURE,
            IntentStatus.SUCCEEDED,
            IntentStatus.CANCELED,
        ):
            return await self._give_up(input, intent.failure_code)
        return await self._state_of(intent, input.amount)

    async def _existing_intent_id(self, input: AuthorizePayment) -> str | None:
        """The intent of the attempt, if an earlier try has made one."""
        charge = await Charge.find_one(
            {
                "_id": PydanticObjectId(input.charge_id),
                "order_id": PydanticObjectId(input.order_id),
            }
        )
        if charge is not None and charge.stripe_id is not None:
            return (await self._read_own(charge.stripe_id, input.order_id)).id
        begun_at = input.begun_at if charge is None else charge.created_at
        made = await self._gateway.find(input.order_id, input.attempt, begun_at)
        return made.id if made else None

    async def _forbid(
        self, intent_id: str | None, input: AuthorizePayment | AttemptedIntent
    ) -> PaymentState:
        """Cancel an existing authorization; one that was captured before is the answer."""
        activity.logger.warning("order %s may not be paid any more", input.order_id)
        if intent_id is None:
            return PaymentState(PaymentOutcome.FORBIDDEN)
        intent = AttemptedIntent(input.order_id, input.attempt, intent_id, input.amount)
        given_up = await self._give_up(intent, None)
        if given_up.outcome is PaymentOutcome.CAPTURED:
            return given_up
        return replace(given_up, outcome=PaymentOutcome.FORBIDDEN)

    async def _give_up(self, input: AttemptedIntent, failure_code: str | None) -> PaymentState:
        """Cancel the intent; one that Stripe refuses to cancel is never captured by us.

        Then the answer names no intent as ended: if a capture of it was begun, the mark on the
        charge keeps the order open, and else the fence keeps it from being captured.
        """
        try:
            intent = await self._cancel(input)
        except PaymentRefused as refused:
            code = _final_refusal_code(refused)
            return PaymentState(PaymentOutcome.CANCELLED, failure_code=failure_code or code)
        return await self._state_of(
            replace(intent, failure_code=intent.failure_code or failure_code), input.amount
        )

    async def _cancel(self, input: AttemptedIntent) -> PaymentIntent:
        return await self._gateway.cancel(
            input.intent_id,
            idempotency_key=idempotency_key(input.order_id, input.attempt, "cancel"),
        )

    async def _read_own(self, intent_id: str, order_id: str) -> PaymentIntent:
        """The intent that a charge names, which somebody may have edited by hand."""
        intent = await self._gateway.read(intent_id)
        if intent.order_id != order_id:
            raise UnexpectedPaymentState(f"{intent_id} is not an intent of order {order_id}")
        return intent

    async def _state_of(self, intent: PaymentIntent, amount: int) -> PaymentState:
        if intent.status not in OUTCOMES:
            raise UnexpectedPaymentState(f"{intent.id} is {intent.status}")
        if intent.status is IntentStatus.SUCCEEDED and intent.amount_received != amount:
            now = await self._gateway.read_with_refunds(intent.id)
            if now is None or now.amount_kept:
                raise UnexpectedPaymentState(
                    f"{intent.id} captured {intent.amount_received} of {amount}: not by us. "
                    "Refund it in Stripe's dashboard, and the order is cancelled."
                )
            return PaymentState(PaymentOutcome.CANCELLED, intent.id, CAPTURED_ELSEWHERE)
        return PaymentState(OUTCOMES[intent.status], intent.id, intent.failure_code)


OUTCOMES = {
    IntentStatus.REQUIRES_ACTION: PaymentOutcome.AUTHENTICATION_REQUIRED,
    IntentStatus.REQUIRES_CAPTURE: PaymentOutcome.AUTHORIZED,
    IntentStatus.SUCCEEDED: PaymentOutcome.CAPTURED,
    IntentStatus.REQUIRES_PAYMENT_METHOD: PaymentOutcome.DECLINED,
    IntentStatus.CANCELED: PaymentOutcome.CANCELLED,
}


def _authorization(input: BeginPayment) -> AuthorizePayment:
    return AuthorizePayment(
        order_id=input.order_id,
        charge_id=input.charge_id,
        attempt=input.attempt,
        amount=input.amount,
        currency=input.currency,
        payment_method=input.payment_method,
        begun_at=input.at,
    )


def _declined(refused: PaymentRefused) -> PaymentState:
    activity.logger.error("Stripe refused to make an intent: %s", refused.code)
    return PaymentState(PaymentOutcome.DECLINED, failure_code=refused.code)


def _final_refusal_code(refused: PaymentRefused) -> str:
    """The code of a refusal that has lasted for some tries.

    Raises:
        PaymentRefused: it has not; the step is retried.
    """
    if activity.info().attempt < REFUSAL_IS_FINAL_AFTER:
        raise refused
    activity.logger.error("Stripe refuses for good: %s", refused.code)
    return refused.code


async def _record_authentication_required(input: AuthorizePayment) -> None:
    code, attempt = TimelineCode.AUTHENTICATION_REQUIRED, input.attempt
    # Temporal's clock, which the other entries go by.
    entry = timeline_entry(code, activity.info().started_time, attempt=attempt)
    await Order.find_one(
        {
            "_id": PydanticObjectId(input.order_id),
            "status": OrderStatus.AWAITING_PAYMENT,
            "timeline": {"$not": {"$elemMatch": {"code": code, "attempt": attempt}}},
        }
    ).update(append_to_timeline(entry))
