"""Every error that this code base raises on purpose.

TicketingError
├── BadRequest          InvalidSignature, MalformedRequest
├── Unauthorized        NotAuthenticated, InvalidCredentials, NotOperator
├── PaymentRequired     CardDeclined
├── Forbidden           NotTicketOwner, NotTicketSeller, OwnTicket, ForeignOrigin, StaleForm
├── NotFound            RouteNotFound, TicketNotFound, OrderNotFound
├── MethodNotAllowed
├── Conflict            EmailTaken, TicketReserved, TicketSold,
│                       OrderExpired, OrderCancelled, OrderCompleted, OrderNotCompleted,
│                       PaymentInProgress, PriceChanged, RefundRefused,
│                       RequestInProgress, TooManyReservations
├── PreconditionFailed  StaleTicket
├── RequestTimeout, ContentTooLarge, UnsupportedMediaType, RequestHeadTooLarge
├── UnprocessableContent  InvalidInput, IdempotencyKeyReused
├── TooManyRequests
└── Unavailable         MongoDBUnavailable, TemporalUnavailable, Overloaded, NotReady,
                        TooManyStreams

A class is one fact: `code` is its stable name for programs, `status` its HTTP status, `title`
says it to people, and `detail` says it of this occurrence. What a class adds to its problem is
in its `members`, and to the answer in its `headers`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import ClassVar, Self

from ticketing.payments.failure_codes import shown_failure_code
from ticketing.problem_codes import ProblemCode


class TicketingError(Exception):
    """Why a request is refused; the API renders it as RFC 9457 problem details."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[ProblemCode] = ProblemCode.INTERNAL_ERROR
    title: ClassVar[str] = "Something went wrong on our side."
    retry_after: int | None = None
    """Seconds after which asking again makes sense, where it does."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail

    @classmethod
    def example(cls) -> Self:
        """One occurrence, for the API's documentation."""
        return cls()

    def members(self) -> dict[str, object]:
        """What the problem says beyond the members that all have, by JSON name."""
        return {}

    def headers(self) -> dict[str, str]:
        """The headers that its answer needs, as a problem or as a page."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class BadRequest(TicketingError):
    status = HTTPStatus.BAD_REQUEST
    title = "The request cannot be understood."


class InvalidSignature(BadRequest):
    code = ProblemCode.INVALID_SIGNATURE
    title = "The webhook's signature does not match its body."


class MalformedRequest(BadRequest):
    code = ProblemCode.MALFORMED_REQUEST
    title = "The request is not well-formed HTTP for this route."


class Unauthorized(TicketingError):
    status = HTTPStatus.UNAUTHORIZED
    title = "Sign in first."

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class NotAuthenticated(Unauthorized):
    """No session, or one that is expired, revoked or forged."""

    code = ProblemCode.NOT_AUTHENTICATED


class InvalidCredentials(Unauthorized):
    code = ProblemCode.INVALID_CREDENTIALS
    title = "The e-mail address or the password is wrong."


class NotOperator(Unauthorized):
    code = ProblemCode.NOT_OPERATOR
    title = "Send the operator token as a bearer token."


class PaymentRequired(TicketingError):
    status = HTTPStatus.PAYMENT_REQUIRED


class CardDeclined(PaymentRequired):
    """The payment was refused; nothing was charged."""

    code = ProblemCode.CARD_DECLINED
    title = "The payment was declined."

    def __init__(self, decline_code: str, detail: str | None = None) -> None:
        super().__init__(detail)
        self.decline_code = decline_code

    @classmethod
    def example(cls) -> Self:
        return cls("insufficient_funds")

    def members(self) -> dict[str, object]:
        return {"declineCode": shown_failure_code(self.decline_code)}


class Forbidden(TicketingError):
    status = HTTPStatus.FORBIDDEN
    title = "That is not allowed."


class NotTicketOwner(Forbidden):
    code = ProblemCode.NOT_TICKET_OWNER
    title = "Only the seller of a ticket may change it."


class NotTicketSeller(Forbidden):
    code = ProblemCode.NOT_TICKET_SELLER
    title = "Only the seller of the ticket may refund its order."


class OwnTicket(Forbidden):
    code = ProblemCode.OWN_TICKET
    title = "A seller cannot buy their own ticket."


class ForeignOrigin(Forbidden):
    code = ProblemCode.FOREIGN_ORIGIN
    title = "A page of another site may not act in your name."


class StaleForm(Forbidden):
    code = ProblemCode.STALE_FORM
    title = "This form is out of date: open its page again, and send it from there."


class NotFound(TicketingError):
    status = HTTPStatus.NOT_FOUND
    title = "There is nothing here."


class RouteNotFound(NotFound):
    """No such path, or one that is switched off by a setting."""

    code = ProblemCode.NOT_FOUND


class TicketNotFound(NotFound):
    code = ProblemCode.TICKET_NOT_FOUND
    title = "There is no such ticket."


class OrderNotFound(NotFound):
    code = ProblemCode.ORDER_NOT_FOUND
    title = "There is no such order."


class MethodNotAllowed(TicketingError):
    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = ProblemCode.METHOD_NOT_ALLOWED
    title = "This path does not answer that method."


class Conflict(TicketingError):
    status = HTTPStatus.CONFLICT
    title = "The state of things does not allow that."


class EmailTaken(Conflict):
    code = ProblemCode.EMAIL_TAKEN
    title = "There is already an account with this e-mail address."


class TicketReserved(Conflict):
    code = ProblemCode.TICKET_RESERVED
    title = "The ticket is reserved for an order."


class TicketSold(Conflict):
    code = ProblemCode.TICKET_SOLD
    title = "The ticket is sold."


class PriceChanged(Conflict):
    code = ProblemCode.PRICE_CHANGED
    title = "The ticket has another price by now."

    def __init__(self, price: int, detail: str | None = None) -> None:
        super().__init__(detail)
        self.price = price
        """What it costs now, in the currency's minor unit."""

    @classmethod
    def example(cls) -> Self:
        return cls(5500)

    def members(self) -> dict[str, object]:
        return {"price": self.price}


class OrderExpired(Conflict):
    code = ProblemCode.ORDER_EXPIRED
    title = "The order expired before it was paid."


class OrderCancelled(Conflict):
    code = ProblemCode.ORDER_CANCELLED
    title = "The order is cancelled."


class OrderCompleted(Conflict):
    code = ProblemCode.ORDER_COMPLETED
    title = "The order is already completed."


class PaymentInProgress(Conflict):
    code = ProblemCode.PAYMENT_IN_PROGRESS
    title = "A payment for this order is being decided."


class OrderNotCompleted(Conflict):
    code = ProblemCode.ORDER_NOT_COMPLETED
    title = "The order was never paid."


class RefundRefused(Conflict):
    code = ProblemCode.REFUND_REFUSED
    title = "Stripe refuses to refund this order; it stays completed."


class RequestInProgress(Conflict):
    code = ProblemCode.REQUEST_IN_PROGRESS
    title = "The first request with this Idempotency-Key is still being carried out."
    retry_after = 1


class TooManyReservations(Conflict):
    code = ProblemCode.TOO_MANY_RESERVATIONS
    title = "You hold as many unpaid tickets as one buyer may; pay for one or cancel one."


class PreconditionFailed(TicketingError):
    status = HTTPStatus.PRECONDITION_FAILED
    title = "A condition of the request does not hold."


class StaleTicket(PreconditionFailed):
    code = ProblemCode.STALE_VERSION
    title = "The ticket has changed since you read it."


class ContentTooLarge(TicketingError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = ProblemCode.CONTENT_TOO_LARGE
    title = "The request body is too large."


class RequestTimeout(TicketingError):
    status = HTTPStatus.REQUEST_TIMEOUT
    code = ProblemCode.REQUEST_TIMEOUT
    title = "The request did not arrive in time."


class RequestHeadTooLarge(TicketingError):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = ProblemCode.REQUEST_HEAD_TOO_LARGE
    title = "The request has too long an address, or too many or too long headers."


class UnsupportedMediaType(TicketingError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = ProblemCode.UNSUPPORTED_MEDIA_TYPE
    title = "Send text as UTF-8, and the body without a Content-Encoding."


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field; `field` is the JSON name, dotted where nested."""

    field: str
    message: str


class UnprocessableContent(TicketingError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "The request is understood and cannot be acted on."


class InvalidInput(UnprocessableContent):
    code = ProblemCode.VALIDATION_ERROR
    title = "Some fields are missing or wrong."

    def __init__(self, errors: list[FieldError], detail: str | None = None) -> None:
        super().__init__(detail)
        self.errors = errors

    @classmethod
    def example(cls) -> Self:
        return cls([FieldError("price", "Input should be a valid integer")])

    def members(self) -> dict[str, object]:
        return {"errors": [asdict(error) for error in self.errors]}


class IdempotencyKeyReused(UnprocessableContent):
    code = ProblemCode.IDEMPOTENCY_KEY_REUSED
    title = "This Idempotency-Key was sent before, with another request."


class TooManyRequests(TicketingError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    code = ProblemCode.TOO_MANY_REQUESTS
    title = "That was tried too often; wait a little."

    def __init__(self, retry_after: int = 1, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after: int = retry_after


class Unavailable(TicketingError):
    """A part that the answer needs does not respond; nothing half-made stays behind."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "The service is briefly unavailable."
    retry_after = 2


class MongoDBUnavailable(Unavailable):
    code = ProblemCode.MONGODB_UNAVAILABLE
    title = "The database does not respond."


class TemporalUnavailable(Unavailable):
    code = ProblemCode.TEMPORAL_UNAVAILABLE
    title = "Orders cannot be processed at the moment."


class Overloaded(Unavailable):
    """More is asked of this process than it can do in time; it has not begun this request."""

    code = ProblemCode.OVERLOADED
    title = "Too many people are buying right now."

    def __init__(self, retry_after: int = 1, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after: int = retry_after


class NotReady(Unavailable):
    code = ProblemCode.NOT_READY
    title = "A part that every request needs does not respond."

    def __init__(self, unavailable: list[str], detail: str | None = None) -> None:
        super().__init__(detail)
        self.unavailable = unavailable

    @classmethod
    def example(cls) -> Self:
        return cls(["temporal"])

    def members(self) -> dict[str, object]:
        return {"unavailable": self.unavailable}


class TooManyStreams(Unavailable):
    code = ProblemCode.TOO_MANY_STREAMS
    title = "As many listen to this server as it can serve; ask again, or poll."


def error_of(code: ProblemCode) -> type[TicketingError]:
    """The class of the errors that carry the code."""
    return _CLASSES[code]


def _subclasses(parent: type[TicketingError]) -> Iterator[type[TicketingError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


_ALL: list[type[TicketingError]] = [TicketingError, *_subclasses(TicketingError)]
_CLASSES = {kind.code: kind for kind in _ALL if "code" in vars(kind)}
