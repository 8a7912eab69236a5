"""Asking Stripe: each step is repeated under one idempotency key until Stripe has answered."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from beanie import PydanticObjectId
from temporalio import activity

from ticketing.models import Charge, Order, told
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import IntentStatus, PaymentIntent, PaymentRefused
from ticketing.statuses import ChargeStatus, OrderStatus, TimelineCode


class PaymentOutcome(StrEnum):
    """Where a payment attempt stands at Stripe."""

    AUTHENTICATION_REQUIRED = "authentication_required"
    """The bank wants the buyer."""
    AUTHORIZED = "authorized"
    """The amount is set aside and can be captured."""
    CAPTURED = "captured"
    DECLINED = "declined"
    """No money; the intent may still be open at Stripe."""
    CANCELLED = "cancelled"
    """No money, and never will be under this intent."""


@dataclass(frozen=True)
class PaymentState:
    """What Stripe answered; never a client secret, for it is kept in the history."""

    outcome: PaymentOutcome
    intent_id: str | None = None
    """Absent only where Stripe refused to make an intent at all."""
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
    """No intent of this attempt is older."""


@dataclass(frozen=True)
class AttemptedIntent:
    """The payment intent of an order's attempt."""

    order_id: str
    attempt: int
    intent_id: str
    amount: int
    """The order's price, in the currency's minor unit."""


class UnexpectedPaymentState(Exception):
    """Stripe holds an intent in a state that no step of ours leads to; retried, and seen."""


def idempotency_key(order_id: str, attempt: int, step: str) -> str:
    """Derive the key of a step. One per attempt, or a second card meets the first's answer."""
    return f"order:{order_id}:attempt:{attempt}:{step}"


class PaymentActivities:
    """Every method may run twice: Stripe answers a known idempotency key as it did before."""

    def __init__(self, gateway: StripeGateway) -> None:
        self._gateway = gateway

    @activity.defn
    async def authorize_payment(self, input: AuthorizePayment) -> PaymentState:
        """Authorize the order's price and note the intent on the charge.

        Safe to run twice: the key makes Stripe repeat its first answer, and an intent that the
        charge names already is read rather than made, since Stripe forgets keys after a day.
        The timeline tells of an attempt's authentication once, which is the write's condition.
        The client secret goes to the charge and nowhere else.
        """
        try:
            intent = await self._authorize(input)
        except PaymentRefused as refused:
            activity.logger.error("Stripe refused to make an intent: %s", refused.code)
            return PaymentState(PaymentOutcome.DECLINED, failure_code=refused.code)
        wants_buyer = intent.status is IntentStatus.REQUIRES_ACTION
        if wants_buyer:
            # Before the charge is written: a run in between finds Stripe's first answer again.
            await _tell_that_the_bank_wants_the_buyer(input)
        await Charge.find_one(
            {"_id": PydanticObjectId(input.charge_id), "status": ChargeStatus.CREATED}
        ).update(
            # Never back to none: a run that was frozen may end when the bank has approved, and
            # Stripe's news of that are told to the workflow only while the secret is here.
            {
                "$set": {"stripe_id": intent.id}
                | ({"client_secret": intent.client_secret} if wants_buyer else {})
            }
        )
        return _state_of(intent, input.amount)

    async def _authorize(self, input: AuthorizePayment) -> PaymentIntent:
        charge = await Charge.get(PydanticObjectId(input.charge_id))
        if charge is not None and charge.stripe_id is not None:
            return await self._gateway.read(charge.stripe_id)
        return await self._gateway.authorize(
            order_id=input.order_id,
            attempt=input.attempt,
            amount=input.amount,
            currency=input.currency,
            payment_method=input.payment_method,
            begun_at=input.begun_at,
            idempotency_key=idempotency_key(input.order_id, input.attempt, "authorize"),
        )

    @activity.defn
    async def read_payment(self, input: AttemptedIntent) -> PaymentState:
        """Ask Stripe where the attempt stands. Safe to run twice: it only reads."""
        return _state_of(await self._gateway.read(input.intent_id), input.amount)

    @activity.defn
    async def capture_payment(self, input: AttemptedIntent) -> PaymentState:
        """Take the money that was set aside.

        Safe to run twice: an intent is captured once, and says so ever after. One that Stripe
        refuses to capture is given up at once, for its ticket is about to be released.
        """
        intent = await self._gateway.capture(
            input.intent_id,
            idempotency_key=idempotency_key(input.order_id, input.attempt, "capture"),
        )
        if intent.status is IntentStatus.REQUIRES_CAPTURE:
            given_up = await self._cancel(input)
            intent = replace(given_up, failure_code=given_up.failure_code or intent.failure_code)
        return _state_of(intent, input.amount)

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
            intent = await self._cancel(input)
        return _state_of(intent, input.amount)

    async def _cancel(self, input: AttemptedIntent) -> PaymentIntent:
        return await self._gateway.cancel(
            input.intent_id,
            idempotency_key=idempotency_key(input.order_id, input.attempt, "cancel"),
        )


async def _tell_that_the_bank_wants_the_buyer(input: AuthorizePayment) -> None:
    code, attempt = TimelineCode.AUTHENTICATION_REQUIRED, input.attempt
    # Temporal's clock, which the other entries go by.
    entry = told(code, activity.info().started_time, attempt=attempt)
    await Order.find_one(
        {
            "_id": PydanticObjectId(input.order_id),
            "status": OrderStatus.AWAITING_PAYMENT,
            "timeline": {"$not": {"$elemMatch": {"code": code, "attempt": attempt}}},
        }
    ).update({"$push": {"timeline": entry}})


def _state_of(intent: PaymentIntent, amount: int) -> PaymentState:
    outcomes = {
        IntentStatus.REQUIRES_ACTION: PaymentOutcome.AUTHENTICATION_REQUIRED,
        IntentStatus.REQUIRES_CAPTURE: PaymentOutcome.AUTHORIZED,
        IntentStatus.SUCCEEDED: PaymentOutcome.CAPTURED,
        IntentStatus.REQUIRES_PAYMENT_METHOD: PaymentOutcome.DECLINED,
        IntentStatus.CANCELED: PaymentOutcome.CANCELLED,
    }
    if intent.status not in outcomes:
        raise UnexpectedPaymentState(f"{intent.id} is {intent.status}")
    if intent.status is IntentStatus.SUCCEEDED and intent.amount_received != amount:
        raise UnexpectedPaymentState(
            f"{intent.id} captured {intent.amount_received} of {amount}: not by us"
        )
    return PaymentState(outcomes[intent.status], intent.id, intent.failure_code)
