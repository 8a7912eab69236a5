"""Every error that the sandbox answers with, in Stripe's format.

StripeError                     one answer with an `error` object
├── InvalidParameter     400    parameter_unknown, parameter_missing, …: never stored
├── Unauthenticated      401    never stored
├── Forbidden            403    never stored
├── RateLimited          429    never stored
├── ServerFailure        5xx    only a fault makes this: never stored
├── IdempotencyMismatch  400    never stored
├── KeyInUse             409    never stored
├── ResourceMissing      404    stored under the idempotency key, as are all below
├── UnexpectedState      400
├── InvalidRequest       400    any other request that is refused
├── BalanceInsufficient  400    only a fault makes this
├── InvalidCard          402    the card's details are wrong; nothing was tried
└── CardDeclined         402    the attempt is kept: charge, payment intent, events

Stripe: "Idempotent requests" says which are stored: results of requests whose execution began.
"""

from typing import Any, ClassVar, TypeAlias

Json: TypeAlias = dict[str, Any]


class StripeError(Exception):
    """An answer other than success."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    code: str | None = None
    stored: ClassVar[bool] = True
    """Whether the answer is stored under the idempotency key."""
    keeps_effects: ClassVar[bool] = False
    """Whether the changes made before it was raised are kept."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        details: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.details = details or {}

    def body(self) -> Json:
        """The answer's JSON; fields that do not apply are left out, as Stripe does."""
        error: Json = {"type": self.type, "message": self.message}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = doc_url(self.code)
        if self.param:
            error["param"] = self.param
        return {"error": error | self.details}


class InvalidParameter(StripeError):
    """A parameter that fails validation, before anything was tried."""

    stored = False


class Unauthenticated(StripeError):
    """No API key, or not one for test mode."""

    status = 401
    stored = False


class Forbidden(StripeError):
    """A publishable key where a secret one is needed."""

    status = 403
    code = "secret_key_required"
    stored = False


class RateLimited(StripeError):
    """Too many requests; only a fault makes this."""

    status = 429
    code = "rate_limit"
    stored = False


class ServerFailure(StripeError):
    """Stripe's own failure before the request was looked at; only a fault makes this."""

    status = 500
    type = "api_error"
    stored = False


class ServiceUnavailable(ServerFailure):
    """Stripe is unavailable; only a fault makes this."""

    status = 503


class IdempotencyMismatch(StripeError):
    """A key that was used before with other parameters or for another path."""

    type = "idempotency_error"
    stored = False


class KeyInUse(StripeError):
    """A key whose first request is still running."""

    status = 409
    type = "idempotency_error"
    code = "idempotency_key_in_use"
    stored = False


class InvalidRequest(StripeError):
    """A request that Stripe understood and refuses."""


class BalanceInsufficient(InvalidRequest):
    """The refund is larger than the account's balance."""

    code = "balance_insufficient"

    def __init__(self) -> None:
        super().__init__("Insufficient funds in your Stripe balance to refund this amount.")


class ResourceMissing(StripeError):
    """An id that names nothing."""

    status = 404
    code = "resource_missing"

    def __init__(self, kind: str, id: str, *, param: str) -> None:
        super().__init__(f"No such {kind}: '{id}'", param=param)


class UnrecognizedUrl(StripeError):
    """A path or method that the sandbox does not serve."""

    status = 404
    stored = False

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"Unrecognized request URL ({method}: {path}). "
            "Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
        )


class UnexpectedState(StripeError):
    """The payment intent's status does not allow the request; the answer contains the intent."""

    code = "payment_intent_unexpected_state"

    def __init__(self, message: str, payment_intent: Json) -> None:
        super().__init__(message, details={"payment_intent": payment_intent})


class InvalidCard(StripeError):
    """Card details that fail validation before any bank is asked."""

    status = 402
    type = "card_error"


class CardDeclined(StripeError):
    """The bank declined; the failed attempt is kept."""

    status = 402
    type = "card_error"
    keeps_effects = True


def doc_url(code: str) -> str:
    """Stripe's page about an error code."""
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def server_failure_body() -> Json:
    """The body of a 500."""
    return ServerFailure(
        "An unknown error occurred. It is safe to try again with the same idempotency key."
    ).body()
