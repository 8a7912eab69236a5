"""Stripe's HTTP API: how every request is checked, run once, stored and answered."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stripe_sandbox import idempotency, keys
from stripe_sandbox.calls import Call
from stripe_sandbox.config import API_VERSION
from stripe_sandbox.connections import DroppedConnection
from stripe_sandbox.errors import (
    BalanceInsufficient,
    InvalidParameter,
    InvalidRequest,
    Json,
    RateLimited,
    ServerFailure,
    ServiceUnavailable,
    StripeError,
    server_failure_body,
)
from stripe_sandbox.expansion import expand
from stripe_sandbox.faults import FaultKind, FaultRule, Faults
from stripe_sandbox.forms import Form, decode_form
from stripe_sandbox.ids import new_id
from stripe_sandbox.keys import KeyKind
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.webhooks import WebhookDeliverer

logger = logging.getLogger(__name__)

Operation = Callable[..., Json]
RECORDED_REQUESTS = 10_000

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Expose-Headers": "Request-Id, Stripe-Version",
    "Access-Control-Max-Age": "300",
}


class RecordedRequest(NamedTuple):
    """A request that reached the API, whether or not it succeeded."""

    method: str
    path: str
    idempotency_key: str | None


@dataclass(frozen=True)
class Endpoint:
    """One of Stripe's routes."""

    method: str
    path: str
    operation: Operation
    publishable: bool = False
    """Whether a browser may call it with a publishable key, from any origin."""


@dataclass(frozen=True)
class Answer:
    """The answer, before it becomes an HTTP response."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class StripeApi:
    """Serves the endpoints over one ledger."""

    ledger: Ledger
    faults: Faults
    webhooks: WebhookDeliverer
    requests: deque[RecordedRequest] = field(
        default_factory=lambda: deque(maxlen=RECORDED_REQUESTS)
    )
    running: idempotency.RunningKeys = field(default_factory=idempotency.RunningKeys)

    async def serve(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer one request, or drop its connection if a fault says so."""
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        self.requests.append(RecordedRequest(request.method, request.url.path, key))
        request_id = new_id("req")
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
        if key is not None:
            headers["Idempotency-Key"] = key
        if endpoint.publishable:
            headers |= CORS
        try:
            answer = await self._answer(endpoint, request, request_id, key)
        except StripeError as error:
            retry = {"Stripe-Should-Retry": "true"} if error.status == 409 else {}
            answer = Answer(error.status, error.body(), retry)
        if answer is None:
            return DroppedConnection()
        logger.info("%s %s %d", request.method, request.url.path, answer.status)
        return JSONResponse(answer.body, answer.status, headers | answer.headers)

    async def _answer(
        self, endpoint: Endpoint, request: Request, request_id: str, key: str | None
    ) -> Answer | None:
        kind = keys.key_kind(request.headers)
        if not endpoint.publishable:
            keys.require_secret(kind)
        form = await _form(request)
        call = Call(
            ledger=self.ledger,
            form=form,
            base_url=str(request.base_url).rstrip("/"),
            request_id=request_id,
            idempotency_key=key,
            destination=self.webhooks.destination,
            publishable=kind is KeyKind.PUBLISHABLE,
        )
        fault = self.faults.next_for(request.method, request.url.path)
        with self.running.claim(key):
            if fault is not None:
                await fault.wait()
                if fault.kind is FaultKind.LOST_REQUEST:
                    return None
                _raise_error(fault)
            answer = self._run(endpoint, request, call, fault)
        self.webhooks.wake()
        lost = fault is not None and fault.kind is FaultKind.LOST_ANSWER
        return None if lost else answer

    def _run(
        self, endpoint: Endpoint, request: Request, call: Call, fault: FaultRule | None
    ) -> Answer:
        """Find the stored answer or make one, in one transaction with its effect."""
        fingerprint = idempotency.fingerprint(request.method, request.url.path, call.form)
        with self.ledger.transaction():
            first = idempotency.find_answer(call, fingerprint)
            if first is not None:
                replayed = {"Idempotent-Replayed": "true", "Original-Request": first.request_id}
                return Answer(first.status, first.body, replayed)
            if fault is not None and fault.kind is FaultKind.ERROR_STORED:
                answer = Answer(500, server_failure_body(), {"Stripe-Should-Retry": "false"})
            elif fault is not None and (refusal := _stored_error(fault)):
                answer = Answer(refusal.status, refusal.body())
            else:
                answer = self._execute(endpoint, call, request.path_params)
            idempotency.store_answer(call, fingerprint, answer.status, answer.body)
        headers = {"Original-Request": call.request_id or ""} if call.idempotency_key else {}
        return Answer(answer.status, answer.body, headers | answer.headers)

    def _execute(self, endpoint: Endpoint, call: Call, ids: dict[str, str]) -> Answer:
        """Run the operation. An error rolls it back, except for a decline, whose attempt is kept.

        Raises:
            StripeError: an error that is not stored.
        """
        raised: StripeError | None = None
        try:
            with self.ledger.savepoint():
                try:
                    return Answer(200, expand(call, endpoint.operation(call, **ids)))
                except StripeError as error:
                    raised = error
                    if not error.keeps_effects:
                        raise
        except StripeError as error:
            if not error.stored:
                raise
        assert raised is not None  # noqa: S101 - for the type checker
        return Answer(raised.status, raised.body())


async def _form(request: Request) -> Form:
    if request.method != "POST":
        return decode_form(request.url.query)
    body = await request.body()
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and content_type != "application/x-www-form-urlencoded":
        raise InvalidParameter(
            "Invalid request (check that your POST content type is "
            "application/x-www-form-urlencoded). If you have any questions, we can help at "
            "https://support.stripe.com/."
        )
    try:
        return decode_form(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidParameter("Invalid request: the form is not UTF-8.") from error


def _stored_error(fault: FaultRule) -> StripeError | None:
    """The error that the fault gives, and that is stored under the idempotency key."""
    if fault.kind is FaultKind.BALANCE_SHORT:
        return BalanceInsufficient()
    if fault.kind is FaultKind.REFUSED:
        return InvalidRequest("This request cannot be carried out.")
    return None


def _raise_error(fault: FaultRule) -> None:
    if fault.kind is FaultKind.RATE_LIMITED:
        raise RateLimited("Too many requests hit the API too quickly. We recommend backing off.")
    if fault.kind is FaultKind.ERROR:
        failure = ServiceUnavailable if fault.status == 503 else ServerFailure
        raise failure("Sorry! There was an error while talking to one of our backends.")
