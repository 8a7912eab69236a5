"""The dependencies of the routes, one alias each."""

from functools import partial
from typing import Annotated

from beanie import PydanticObjectId
from bson.errors import InvalidId
from fastapi import Depends, Header, Request, Security
from fastapi.security import (
    APIKeyCookie,
    HTTPAuthorizationCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
)
from pydantic import WithJsonSchema
from pymongo import AsyncMongoClient

from api.http.disconnects import ends_when_client_leaves
from api.http.idempotency import IDEMPOTENCY_KEY_HEADER, KEY_PATTERN, parse_key
from api.http.rate_limits import ORDER_LIMITS, RateLimiter
from api.operations.service import InvariantService
from api.orders.reservations import ReservationService
from api.orders.service import OrderService
from api.orders.timelines import TimelineService
from api.payments.service import PaymentService
from api.payments.webhooks import StripeWebhookService
from api.refunds.service import RefundService
from api.resources import resources_of
from api.temporal.connection import TemporalConnection
from api.tickets.feed import TicketFeed
from api.tickets.service import TicketService
from api.users.service import UserService
from api.users.sessions import SESSION_COOKIE, SessionService, SignedInUser, require_operator
from ticketing.mongodb import BSONDocument
from ticketing.settings import ApiSettings

# These schemes only document the API; api/users/sessions.py reads the request itself.
bearer_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/users/token",
    auto_error=False,
    scheme_name="bearer",
    description="The token of `POST /api/users/token`; takes precedence over a cookie.",
)
cookie_scheme = APIKeyCookie(
    name=SESSION_COOKIE,
    auto_error=False,
    scheme_name="cookie",
    description="The session cookie, set by signing up and signing in.",
)
operator_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="operator",
    description="The value of the `OPERATOR_TOKEN` setting.",
)


async def settings(request: Request) -> ApiSettings:
    return resources_of(request.app).settings


async def sessions(request: Request) -> SessionService:
    return resources_of(request.app).sessions


async def rate_limits(request: Request) -> RateLimiter:
    return resources_of(request.app).rate_limits


async def mongo(request: Request) -> AsyncMongoClient[BSONDocument]:
    return resources_of(request.app).mongo


async def temporal(request: Request) -> TemporalConnection:
    return resources_of(request.app).temporal


async def ticket_feed(request: Request) -> TicketFeed:
    return resources_of(request.app).ticket_feed


async def current_user(
    request: Request,
    _bearer: Annotated[str | None, Security(bearer_scheme)],
    _cookie: Annotated[str | None, Security(cookie_scheme)],
) -> SignedInUser:
    return await resources_of(request.app).sessions.require_user(request)


async def optional_user(request: Request) -> SignedInUser | None:
    return await resources_of(request.app).sessions.optional_user(request)


async def idempotency_key(
    request: Request,
    _documented: Annotated[
        str | None,
        Header(
            alias=IDEMPOTENCY_KEY_HEADER,
            description="A key that the client chooses for this request, ideally a UUID, and sends "
            "again with every retry. The same key with the same body gets the first answer "
            "again; with another body it is refused (422), and while the first request is "
            "still being processed it may be refused as well (409, `Retry-After`). "
            "Keys are separate for each user and each route.",
        ),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": KEY_PATTERN,
                "examples": ['"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
            }
        ),
    ] = None,
) -> str | None:
    sent = request.headers.getlist(IDEMPOTENCY_KEY_HEADER)
    return parse_key(", ".join(sent)) if sent else None


async def same_origin(request: Request) -> None:
    resources_of(request.app).sessions.refuse_cross_origin(request)


async def refuse_cross_origin_cookie(request: Request) -> None:
    resources_of(request.app).sessions.refuse_cross_origin_cookie(request)


Settings = Annotated[ApiSettings, Depends(settings)]
Sessions = Annotated[SessionService, Depends(sessions)]
RateLimits = Annotated[RateLimiter, Depends(rate_limits)]
Mongo = Annotated[AsyncMongoClient[BSONDocument], Depends(mongo)]
Temporal = Annotated[TemporalConnection, Depends(temporal)]
Feed = Annotated[TicketFeed, Depends(ticket_feed)]
"""The stream of ticket changes; it starts watching MongoDB on first use."""

CurrentUser = Annotated[SignedInUser, Depends(current_user)]
"""The signed-in user; without a session the answer is 401."""
OptionalUser = Annotated[SignedInUser | None, Depends(optional_user)]
"""The signed-in user, or None."""

IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
"""The client's idempotency key, or None; a malformed one is answered 422."""

SameOrigin = Depends(same_origin)
"""For routes that set the session cookie: no other site may sign a browser in."""


async def limit_orders(request: Request, user: CurrentUser, limits: RateLimits) -> None:
    await limits.count(ORDER_LIMITS, request, str(user.id))


OrderLimits = Depends(limit_orders)
"""For the routes that reserve tickets; too many requests are answered 429."""


async def authorize_operator(
    settings: Settings,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(operator_scheme)],
    request: Request,
) -> None:
    require_operator(request, settings.operator)


OperatorOnly = Depends(authorize_operator)
"""For the operators' routes: 404 while no operator token is set, otherwise 401 without it."""


# Each reads the resources directly, because every nested dependency costs time per request.
async def user_service(request: Request) -> UserService:
    return UserService(resources_of(request.app).passwords)


async def ticket_service(request: Request) -> TicketService:
    return TicketService(currency=resources_of(request.app).settings.purchase.currency)


async def order_service(request: Request) -> OrderService:
    return OrderService(resources_of(request.app).order_workflows)


async def reservation_service(request: Request) -> ReservationService:
    resources = resources_of(request.app)
    return ReservationService(
        resources.order_workflows,
        rules=resources.settings.purchase,
        refusal_counter=resources.refusal_counter,
        in_flight=resources.reservations_in_flight,
        admission=resources.admission,
        while_queued=partial(ends_when_client_leaves, request),
    )


async def payment_service(request: Request) -> PaymentService:
    resources = resources_of(request.app)
    return PaymentService(
        resources.order_workflows,
        resources.charge_feed,
        wait=resources.settings.purchase.payment_wait,
        admission=resources.admission,
        while_waiting=partial(ends_when_client_leaves, request),
    )


async def refund_service(request: Request) -> RefundService:
    resources = resources_of(request.app)
    return RefundService(resources.refund_workflows, wait=resources.settings.purchase.payment_wait)


async def timeline_service() -> TimelineService:
    return TimelineService()


async def stripe_webhook_service(request: Request) -> StripeWebhookService:
    resources = resources_of(request.app)
    return StripeWebhookService(resources.order_workflows, resources.refund_workflows)


async def invariant_service(request: Request) -> InvariantService:
    return InvariantService(resources_of(request.app).reconciliation)


Users = Annotated[UserService, Depends(user_service)]
Tickets = Annotated[TicketService, Depends(ticket_service)]
Invariants = Annotated[InvariantService, Depends(invariant_service)]
Orders = Annotated[OrderService, Depends(order_service)]
Reservations = Annotated[ReservationService, Depends(reservation_service)]
Payments = Annotated[PaymentService, Depends(payment_service)]
Refunds = Annotated[RefundService, Depends(refund_service)]
Timelines = Annotated[TimelineService, Depends(timeline_service)]
StripeWebhooks = Annotated[StripeWebhookService, Depends(stripe_webhook_service)]


async def refuse_early(request: Request, reservations: Reservations) -> None:
    ticket_id = await _requested_ticket_id(request)
    if ticket_id is not None:
        await reservations.refuse_if_overloaded(ticket_id)


async def _requested_ticket_id(request: Request) -> PydanticObjectId | None:
    """The ticket in the path or the JSON body; None if the request is going to be refused."""
    try:
        return PydanticObjectId(
            request.path_params.get("ticket_id") or (await request.json())["ticketId"]
        )
    except (InvalidId, ValueError, TypeError, LookupError):
        return None


EarlyRefusal = Depends(refuse_early)
"""For the routes that reserve tickets: an overloaded process refuses before it does anything."""
