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
└── Unavailable         MongoDBUnavailable, TemporalUnavailable, NotReady, TooManyStreams

A class is one fact: `code` is its stable name for machines, `status` its HTTP status,
`title` says it to people, and `detail` says it of this occurrence.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar


class TicketingError(Exception):
    """A fact that the caller is told; rendered as RFC 9457 problem details by the API."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail


class BadRequest(TicketingError):
    status = HTTPStatus.BAD_REQUEST
    code = "bad_request"
    title = "The request cannot be understood."


class InvalidSignature(BadRequest):
    code = "invalid_signature"
    title = "The webhook's signature does not match its body."


class MalformedRequest(BadRequest):
    code = "malformed_request"
    title = "The request is not well-formed HTTP for this route."


class Unauthorized(TicketingError):
    status = HTTPStatus.UNAUTHORIZED
    code = "not_authenticated"
    title = "Sign in first."


class NotAuthenticated(Unauthorized):
    """No session, or one that is expired, revoked or forged."""


class InvalidCredentials(Unauthorized):
    code = "invalid_credentials"
    title = "The e-mail address or the password is wrong."


class NotOperator(Unauthorized):
    code = "not_operator"
    title = "Send the operator token as a bearer token."


class PaymentRequired(TicketingError):
    status = HTTPStatus.PAYMENT_REQUIRED


class CardDeclined(PaymentRequired):
    """The payment was refused; nothing was charged."""

    code = "card_declined"
    title = "The payment was declined."

    def __init__(self, decline_code: str, detail: str | None = None) -> None:
        super().__init__(detail)
        self.decline_code = decline_code


class Forbidden(TicketingError):
    status = HTTPStatus.FORBIDDEN
    code = "forbidden"
    title = "That is not allowed."


class NotTicketOwner(Forbidden):
    code = "not_ticket_owner"
    title = "Only the seller of a ticket may change it."


class NotTicketSeller(Forbidden):
    code = "not_ticket_seller"
    title = "Only the seller of the ticket may refund its order."


class OwnTicket(Forbidden):
    code = "own_ticket"
    title = "A seller cannot buy their own ticket."


class ForeignOrigin(Forbidden):
    code = "foreign_origin"
    title = "A page of another site may not act in your name."


class StaleForm(Forbidden):
    code = "stale_form"
    title = "This form is out of date: open its page again, and send it from there."


class NotFound(TicketingError):
    status = HTTPStatus.NOT_FOUND
    code = "not_found"
    title = "There is nothing here."


class RouteNotFound(NotFound):
    """No such path, or one that is switched off by a setting."""


class TicketNotFound(NotFound):
    code = "ticket_not_found"
    title = "There is no such ticket."


class OrderNotFound(NotFound):
    code = "order_not_found"
    title = "There is no such order."


class MethodNotAllowed(TicketingError):
    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"
    title = "This path does not answer that method."


class Conflict(TicketingError):
    status = HTTPStatus.CONFLICT
    code = "conflict"
    title = "The state of things does not allow that."


class EmailTaken(Conflict):
    code = "email_taken"
    title = "There is already an account with this e-mail address."


class TicketReserved(Conflict):
    code = "ticket_reserved"
    title = "The ticket is reserved for an order."


class TicketSold(Conflict):
    code = "ticket_sold"
    title = "The ticket is sold."


class PriceChanged(Conflict):
    code = "price_changed"
    title = "The ticket has another price by now."

    def __init__(self, price: int, detail: str | None = None) -> None:
        super().__init__(detail)
        self.price = price
        """What it costs now, in the currency's minor unit."""


class OrderExpired(Conflict):
    code = "order_expired"
    title = "The order expired before it was paid."


class OrderCancelled(Conflict):
    code = "order_cancelled"
    title = "The order is cancelled."


class OrderCompleted(Conflict):
    code = "order_completed"
    title = "The order is already completed."


class PaymentInProgress(Conflict):
    code = "payment_in_progress"
    title = "A payment for this order is being decided."


class OrderNotCompleted(Conflict):
    code = "order_not_completed"
    title = "The order was never paid."


class RefundRefused(Conflict):
    code = "refund_refused"
    title = "Stripe refuses to refund this order; it stays completed."


class RequestInProgress(Conflict):
    code = "request_in_progress"
    title = "The first request with this Idempotency-Key is still being carried out."
    retry_after: ClassVar[int] = 1
    """Seconds after which asking again makes sense."""


class TooManyReservations(Conflict):
    code = "too_many_reservations"
    title = "You hold as many unpaid tickets as one buyer may; pay for one or cancel one."


class PreconditionFailed(TicketingError):
    status = HTTPStatus.PRECONDITION_FAILED
    code = "precondition_failed"
    title = "A condition of the request does not hold."


class StaleTicket(PreconditionFailed):
    code = "stale_version"
    title = "The ticket has changed since you read it."


class ContentTooLarge(TicketingError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "content_too_large"
    title = "The request body is too large."


class RequestTimeout(TicketingError):
    status = HTTPStatus.REQUEST_TIMEOUT
    code = "request_timeout"
    title = "The request did not arrive in time."


class RequestHeadTooLarge(TicketingError):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = "request_head_too_large"
    title = "The request has too long an address, or too many or too long headers."


class UnsupportedMediaType(TicketingError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"
    title = "Send text as UTF-8, and the body without a Content-Encoding."


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field; `field` is the JSON name, dotted where nested."""

    field: str
    message: str


class UnprocessableContent(TicketingError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "unprocessable_content"
    title = "The request is understood and cannot be acted on."


class InvalidInput(UnprocessableContent):
    code = "validation_error"
    title = "Some fields are missing or wrong."

    def __init__(self, errors: list[FieldError], detail: str | None = None) -> None:
        super().__init__(detail)
        self.errors = errors


class IdempotencyKeyReused(UnprocessableContent):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was sent before, with another request."


class TooManyRequests(TicketingError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "too_many_requests"
    title = "That was tried too often; wait a little."

    def __init__(self, retry_after: int = 1, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds after which asking again makes sense."""


class Unavailable(TicketingError):
    """A part that the answer needs does not respond; nothing half-made stays behind."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    title = "The service is briefly unavailable."
    retry_after: ClassVar[int] = 2
    """Seconds after which asking again makes sense."""


class MongoDBUnavailable(Unavailable):
    code = "mongodb_unavailable"
    title = "The database does not respond."


class TemporalUnavailable(Unavailable):
    code = "temporal_unavailable"
    title = "Orders cannot be processed at the moment."


class NotReady(Unavailable):
    code = "not_ready"
    title = "A part that every request needs does not respond."

    def __init__(self, unavailable: list[str], detail: str | None = None) -> None:
        super().__init__(detail)
        self.unavailable = unavailable


class TooManyStreams(Unavailable):
    code = "too_many_streams"
    title = "As many listen to this server as it can serve; ask again, or poll."
