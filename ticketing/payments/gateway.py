"""Stripe, as the purchase needs it: authorize, capture, cancel, refund, read."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import stripe
from opentelemetry.trace import NoOpTracer, Tracer
from stripe import StripeClient
from temporalio.common import MetricMeter

from ticketing.payments.idempotency_keys import nth_key
from ticketing.payments.instrumented_http import InstrumentedHTTPXClient
from ticketing.payments.intents import (
    FINAL_STATUSES,
    IntentStatus,
    PaymentIntent,
    PaymentOutcomeUnknown,
    PaymentRefused,
)
from ticketing.payments.refunds import IntentRefunds, Refund, RefundStatus
from ticketing.settings import StripeApiSettings

if TYPE_CHECKING:
    from stripe import RequestOptions
    from stripe.params import (
        PaymentIntentCreateParams,
        PaymentIntentListParams,
        RefundCreateParams,
        RefundListParams,
    )

API_VERSION: Final = "2026-10-28.endive"
"""Pinned: an upgrade of the account or of the client changes nothing by itself."""

HTTP_TIMEOUT_SECONDS: Final = 15.0
MAX_CONNECTIONS: Final = 1_000
"""At 100 payments a second, as many as Stripe takes, a bank may need ten seconds for each."""

T = TypeVar("T")

MAX_KEYS: Final = 200
"""For one step: as many tries as Temporal makes in an hour and a half."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far Stripe's clock may be behind ours."""


class StripeGateway:
    """Speaks to Stripe with manual capture; every change carries an idempotency key.

    Retries nothing itself: Temporal's retry policy is the only one. A method either returns
    what Stripe holds, or raises `PaymentRefused` (a definite no) or `PaymentOutcomeUnknown`.
    """

    def __init__(
        self,
        settings: StripeApiSettings,
        meter: MetricMeter = MetricMeter.noop,
        tracer: Tracer | None = None,
    ) -> None:
        # It stores an id in the home directory, and sends facts about this machine to Stripe.
        stripe.enable_telemetry = False
        self._http = InstrumentedHTTPXClient(
            timeout=HTTP_TIMEOUT_SECONDS,
            max_connections=MAX_CONNECTIONS,
            meter=meter,
            tracer=tracer or NoOpTracer(),
        )
        stripe_api = StripeClient(
            settings.api_key.get_secret_value(),
            stripe_version=API_VERSION,
            base_addresses={"api": settings.api_base},
            max_network_retries=0,
            http_client=self._http,
        ).v1
        self._intents = stripe_api.payment_intents
        self._refunds = stripe_api.refunds
        self._spent_keys: dict[str, int] = {}
        """By a step's first key, how many of its keys are spent."""

    async def close(self) -> None:
        """Close the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call] # stripe leaves it bare

    async def authorize(
        self,
        *,
        order_id: str,
        attempt: int,
        amount: int,
        currency: str,
        payment_method: str,
        begun_at: datetime,
        idempotency_key: str,
    ) -> PaymentIntent:
        """Set the amount aside on the buyer's card; no money moves.

        A declined card is an intent in `requires_payment_method` with its `failure_code`.

        Raises:
            PaymentRefused: Stripe makes no intent of this.
        """
        params: PaymentIntentCreateParams = {
            "amount": amount,
            "currency": currency,
            "capture_method": "manual",
            "confirm": True,
            "payment_method": payment_method,
            # A redirect would need a page to come back to; cards authenticate without one.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"order_id": order_id, "attempt": str(attempt)},
        }
        return await self._with_fresh_keys(
            idempotency_key,
            lambda options: _request_intent(self._intents.create_async(params, options)),
            find_existing=lambda: self.find(order_id, attempt, begun_at),
        )

    async def capture(self, intent_id: str, *, idempotency_key: str) -> PaymentIntent:
        """Take the whole amount that was set aside. Captured before is captured.

        Raises:
            PaymentRefused: Stripe has just said no, and the intent is as it was.
        """
        return await self._transition_intent(
            intent_id, idempotency_key, self._intents.capture_async
        )

    async def cancel(self, intent_id: str, *, idempotency_key: str) -> PaymentIntent:
        """Give up the intent, and what it set aside. Canceled before is canceled.

        An intent that was captured stays captured, and comes back so.

        Raises:
            PaymentRefused: Stripe has just said no, and the intent is as it was.
        """
        return await self._transition_intent(intent_id, idempotency_key, self._intents.cancel_async)

    async def read(self, intent_id: str) -> PaymentIntent:
        """What Stripe holds now."""
        return await _request_intent(self._intents.retrieve_async(intent_id))

    async def refund(
        self, intent_id: str, *, idempotency_key: str, later_key: str
    ) -> IntentRefunds:
        """Refund what is left of the captured money, if any; returns all refunds then.

        Stripe repeats its first answer to a key for a day, and for a refund that may be out of
        date: the balance was short and is not any more, or the refund failed in the end. Then
        `later_key` is asked under; no other asking may have used it.

        Raises:
            PaymentRefused: with Stripe's code, if not all of it can go back.
        """
        refunds = await self.refunds_of(intent_id)
        for key in (idempotency_key, later_key):
            if refunds.left == 0:
                break
            refused = await self._try_refund(intent_id, key)
            refunds = await self.refunds_of(intent_id)
            is_current = key == later_key or not (refused and refused.is_replayed)
            if refunds.left and refused and is_current:
                raise refused
        return refunds

    async def refunds_of(self, intent_id: str) -> IntentRefunds:
        """What was captured under the intent, and all of its refunds."""
        intent = await self.read(intent_id)
        params: RefundListParams = {"payment_intent": intent_id, "limit": 100}
        page = await _translate_errors(self._refunds.list_async(params))
        refunds = tuple([_refund(refund) async for refund in page.auto_paging_iter()])
        return IntentRefunds(intent.amount_received, refunds)

    async def _try_refund(self, intent_id: str, key: str) -> PaymentRefused | None:
        """Ask for the rest under one key; Stripe's no, if that is what it says."""
        params: RefundCreateParams = {"payment_intent": intent_id}

        async def find_refunded() -> IntentRefunds | None:
            refunds = await self.refunds_of(intent_id)
            return None if refunds.left else refunds

        async def refund(options: "RequestOptions") -> IntentRefunds:
            await _translate_errors(self._refunds.create_async(params, options))
            return await self.refunds_of(intent_id)

        try:
            await self._with_fresh_keys(key, refund, find_existing=find_refunded)
        except PaymentRefused as refused:
            return refused
        except stripe.CardError as error:
            return PaymentRefused(_failure_code(error), is_replayed=_is_replayed(error))
        return None

    async def find(self, order_id: str, attempt: int, since: datetime) -> PaymentIntent | None:
        """Look for the intent of an attempt among those made since it was begun.

        `search` would be shorter and is only eventually consistent; `list` is not.
        """
        wanted = {"order_id": order_id, "attempt": str(attempt)}
        earliest = int((since - CLOCK_SKEW).timestamp())
        params: PaymentIntentListParams = {"limit": 100, "created": {"gte": earliest}}
        page = await _translate_errors(self._intents.list_async(params))
        while page.data:
            for intent in page.data:
                if wanted.items() <= dict(intent.metadata.to_dict()).items():
                    return _payment_intent(intent)
            page = await _translate_errors(page.next_page_async())
        return None

    async def read_with_refunds(self, intent_id: str) -> PaymentIntent | None:
        """What Stripe holds now, refunds included; None if it knows no such intent."""
        request = self._intents.retrieve_async(intent_id, {"expand": ["latest_charge"]})
        try:
            return await _request_intent(request)
        except PaymentRefused as refused:
            if refused.code != "resource_missing":
                raise
            return None

    async def list_intents(
        self, *, since: datetime, until: datetime, after: str | None, limit: int
    ) -> list[PaymentIntent]:
        """One page of the intents made between two instants, newest first, refunds included."""
        params: PaymentIntentListParams = {
            "limit": limit,
            "expand": ["data.latest_charge"],
            "created": {
                "gte": int((since - CLOCK_SKEW).timestamp()),
                "lte": int((until + CLOCK_SKEW).timestamp()),
            },
        }
        if after is not None:
            params["starting_after"] = after
        page = await _translate_errors(self._intents.list_async(params))
        return [_payment_intent(intent) for intent in page.data]

    async def _transition_intent(
        self,
        intent_id: str,
        idempotency_key: str,
        step: Callable[..., Awaitable[stripe.PaymentIntent]],
    ) -> PaymentIntent:
        async def read_if_moved() -> PaymentIntent | None:
            intent = await self.read(intent_id)
            return intent if intent.status in FINAL_STATUSES else None

        try:
            return await self._with_fresh_keys(
                idempotency_key,
                lambda options: _request_intent(step(intent_id, {}, options)),
                find_existing=read_if_moved,
            )
        except PaymentRefused:
            try:
                intent = await read_if_moved()
            except PaymentRefused as refused:
                # Stripe has forgotten an intent that it made, or we ask another account.
                raise PaymentOutcomeUnknown(str(refused)) from None
            if intent is None:
                raise
            return intent

    async def _with_fresh_keys(
        self,
        idempotency_key: str,
        request: Callable[["RequestOptions"], Awaitable[T]],
        *,
        find_existing: Callable[[], Awaitable[T | None]],
    ) -> T:
        """Send the request under the key, or under the next one if Stripe replays a failure.

        Stripe answers a key as it did at first, even with a 500 or a refusal that no longer
        holds, so that the step could never succeed under such a key. Before the next key is
        used, the object is looked up: it may exist. The further keys are derived from the first,
        and a retry goes through them in the same order, past those that this process knows to be
        spent; so a try that was delayed finds only used keys.
        """
        while (number := self._spent_keys.get(idempotency_key, 0) + 1) <= MAX_KEYS:
            try:
                answer = await request({"idempotency_key": nth_key(idempotency_key, number)})
            except _KeyIsSpent:
                found = await find_existing()
                if found is None:
                    self._spent_keys[idempotency_key] = number  # looked, and there is nothing
                    continue
                answer = found
            self._spent_keys.pop(idempotency_key, None)
            return answer
        raise PaymentOutcomeUnknown(f"Stripe stored failures of its own under {MAX_KEYS} keys")


class _KeyIsSpent(Exception):
    """Stripe replays a failure or a refusal for this key, or has it with other parameters."""


async def _request_intent(request: Awaitable[stripe.PaymentIntent]) -> PaymentIntent:
    try:
        return _payment_intent(await _translate_errors(request))
    except stripe.CardError as error:
        intent = error.error.payment_intent if error.error else None
        if intent is not None:
            return _payment_intent(intent)
        refused = PaymentRefused(_failure_code(error), is_replayed=_is_replayed(error))
    except PaymentRefused as error:
        refused = error
    raise (_KeyIsSpent(str(refused)) if refused.is_replayed else refused) from None


async def _translate_errors(request: Awaitable[T]) -> T:
    """Await a request; translate Stripe's errors into a refusal or an unknown outcome.

    They are raised without their cause, since a `StripeError` carries the whole body, and an
    activity's error is stored in the workflow's history.
    """
    try:
        return await request
    except stripe.CardError:
        raise
    except stripe.InvalidRequestError as error:
        raise PaymentRefused(_failure_code(error), is_replayed=_is_replayed(error)) from None
    except stripe.IdempotencyError as error:
        # An earlier version of this code asked for the same step in other words.
        raise _KeyIsSpent(_describe(error)) from None
    except stripe.APIError as error:
        if _is_replayed(error):
            raise _KeyIsSpent(_describe(error)) from None
        raise PaymentOutcomeUnknown(_describe(error)) from None
    except stripe.StripeError as error:
        raise PaymentOutcomeUnknown(_describe(error)) from None


def _payment_intent(intent: stripe.PaymentIntent) -> PaymentIntent:
    failure = intent.last_payment_error
    return PaymentIntent(
        id=intent.id,
        status=IntentStatus(intent.status),
        amount=intent.amount,
        amount_received=intent.amount_received,
        currency=intent.currency,
        order_id=intent.metadata.to_dict().get("order_id"),
        amount_refunded=_amount_refunded(intent),
        failure_code=_code_of(failure) if failure else None,
        client_secret=intent.client_secret,
    )


def _refund(refund: stripe.Refund) -> Refund:
    reason = getattr(refund, "failure_reason", None) or getattr(refund, "pending_reason", None)
    return Refund(
        id=refund.id,
        status=RefundStatus(refund.status or RefundStatus.SUCCEEDED),
        amount=refund.amount,
        created_at=datetime.fromtimestamp(refund.created, UTC),
        reason=reason,
    )


def _is_replayed(error: stripe.StripeError) -> bool:
    """Whether Stripe replays its first answer to the key."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"


def _amount_refunded(intent: stripe.PaymentIntent) -> int:
    """Of the captured money; Stripe also calls the release of an authorization a refund."""
    charge = intent.latest_charge
    if charge is None or isinstance(charge, str) or not intent.amount_received:
        return 0
    return charge.amount_refunded


def _code_of(failure: stripe.PaymentIntent.LastPaymentError) -> str:
    # Stripe leaves out what it has nothing to say about.
    codes = (getattr(failure, name, None) for name in ("decline_code", "code"))
    return next(filter(None, codes), failure.type)


def _failure_code(error: stripe.StripeError) -> str:
    decline_code = getattr(error.error, "decline_code", None)
    return decline_code or error.code or "invalid_request"


def _describe(error: stripe.StripeError) -> str:
    cause = type(error.__cause__).__name__ if error.__cause__ else None
    facts = (type(error).__name__, cause, error.http_status, error.code, error.request_id)
    return "Stripe: " + ", ".join(str(fact) for fact in facts if fact)
