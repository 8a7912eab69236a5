"""What routes ask for: one alias per dependency."""

from typing import Annotated, cast

from fastapi import Depends, Header, Request, Security
from fastapi.security import (
    APIKeyCookie,
    HTTPAuthorizationCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
)
from pydantic import WithJsonSchema
from pymongo import AsyncMongoClient
from temporalio.client import Client

from api.http.idempotency import HEADER, KEY_PATTERN, parse_key
from api.http.rate_limits import ORDER
from api.http.rate_limits import RateLimits as RateLimitKeeper
from api.operations.service import InvariantService
from api.orders.reservations import ReservationService
from api.orders.service import OrderService
from api.orders.timelines import TimelineService
from api.payments.service import PaymentService
from api.payments.webhooks import StripeWebhookService
from api.refunds.service import RefundService
from api.temporal.probe import TemporalProbe as TemporalProber
from api.tickets.feed import TicketFeed
from api.tickets.service import TicketService
from api.users.service import UserService
from api.users.sessions import COOKIE, SignedInUser, require_operator
from api.users.sessions import Sessions as SessionKeeper
from ticketing.mongodb import BSONDocument
from ticketing.settings import ApiSettings

# These only document; api/users/sessions.py reads the request itself.
bearer_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/users/token",
    auto_error=False,
    scheme_name="bearer",
    description="The token of `POST /api/users/token`. Where a cookie is sent too, this counts.",
)
cookie_scheme = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="cookie",
    description="The session that signing up and signing in set.",
)
operator_scheme = HTTPBearer(
    auto_error=False, scheme_name="operator", description="The `OPERATOR_TOKEN` of the setting."
)


async def settings(request: Request) -> ApiSettings:
    return cast(ApiSettings, request.app.state.settings)


async def sessions(request: Request) -> SessionKeeper:
    return sessions_of(request)


def sessions_of(request: Request) -> SessionKeeper:
    return cast(SessionKeeper, request.app.state.sessions)


async def rate_limits(request: Request) -> RateLimitKeeper:
    return cast(RateLimitKeeper, request.app.state.rate_limits)


async def mongo(request: Request) -> AsyncMongoClient[BSONDocument]:
    return cast(AsyncMongoClient[BSONDocument], request.app.state.mongo)


async def temporal(request: Request) -> Client:
    return cast(Client, request.app.state.temporal)


async def temporal_probe(request: Request) -> TemporalProber:
    return cast(TemporalProber, request.app.state.temporal_probe)


async def ticket_feed(request: Request) -> TicketFeed:
    return cast(TicketFeed, request.app.state.ticket_feed)


async def current_user(
    request: Request,
    _bearer: Annotated[str | None, Security(bearer_scheme)],
    _cookie: Annotated[str | None, Security(cookie_scheme)],
) -> SignedInUser:
    return await sessions_of(request).required(request)


async def optional_user(request: Request) -> SignedInUser | None:
    return await sessions_of(request).optional(request)


async def idempotency_key(
    request: Request,
    _documented: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="A name that the client makes up for this request, best a UUID, and sends "
            "again with every repetition of it. The same key and the same body get the first "
            "answer again; with another body the key is refused (422), and while the first "
            "request is being carried out it may be told so (409, `Retry-After`). "
            "Each user and each route has keys of its own.",
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
    sent = request.headers.getlist(HEADER)
    return parse_key(", ".join(sent)) if sent else None


async def same_origin(request: Request) -> None:
    sessions_of(request).refuse_foreign_origin(request)


Settings = Annotated[ApiSettings, Depends(settings)]
Sessions = Annotated[SessionKeeper, Depends(sessions)]
RateLimits = Annotated[RateLimitKeeper, Depends(rate_limits)]
Mongo = Annotated[AsyncMongoClient[BSONDocument], Depends(mongo)]
Temporal = Annotated[Client, Depends(temporal)]
"""Connects on its first call; an outage shows there, and is answered with 503."""
TemporalProbe = Annotated[TemporalProber, Depends(temporal_probe)]
Feed = Annotated[TicketFeed, Depends(ticket_feed)]
"""The changes of tickets; it starts to watch with its first use."""

CurrentUser = Annotated[SignedInUser, Depends(current_user)]
"""Whoever is signed in; without a session the answer is 401."""
OptionalUser = Annotated[SignedInUser | None, Depends(optional_user)]
"""Whoever is signed in, or none."""

IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
"""The key by which the client repeats a request, if it sends one; a malformed one is 422."""

SameOrigin = Depends(same_origin)
"""For routes that hand out a cookie: no other site may sign a browser in."""


async def limit_orders(request: Request, user: CurrentUser, limits: RateLimits) -> None:
    await limits.count(ORDER, request, str(user.id))


OrderLimits = Depends(limit_orders)
"""For the route that reserves; too many requests are refused with 429."""


async def operator(
    settings: Settings,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(operator_scheme)],
    request: Request,
) -> None:
    require_operator(request, settings.operator)


OperatorOnly = Depends(operator)
"""For the operators' routes: 404 while there is no operator token, else 401 without it."""


async def user_service(request: Request) -> UserService:
    return UserService(request.app.state.passwords)


async def ticket_service(settings: Settings) -> TicketService:
    return TicketService(currency=settings.purchase.currency)


Users = Annotated[UserService, Depends(user_service)]
Tickets = Annotated[TicketService, Depends(ticket_service)]


async def order_service(temporal: Temporal) -> OrderService:
    return OrderService(temporal)


async def reservation_service(request: Request) -> ReservationService:
    # From the state at once: each dependency takes a little of everybody's time in a rush.
    state = request.app.state
    return ReservationService(
        state.temporal,
        task_queue=state.settings.task_queue,
        rules=state.settings.purchase,
        refused_orders=state.refused_orders,
        turns=state.ticket_turns,
    )


async def payment_service(settings: Settings, temporal: Temporal) -> PaymentService:
    return PaymentService(temporal, wait=settings.purchase.payment_wait)


async def refund_service(settings: Settings, temporal: Temporal) -> RefundService:
    return RefundService(
        temporal, task_queue=settings.task_queue, wait=settings.purchase.payment_wait
    )


async def timeline_service() -> TimelineService:
    return TimelineService()


async def stripe_webhook_service(settings: Settings, temporal: Temporal) -> StripeWebhookService:
    return StripeWebhookService(temporal, task_queue=settings.task_queue)


async def invariant_service(settings: Settings, temporal: Temporal) -> InvariantService:
    return InvariantService(temporal, task_queue=settings.task_queue)


Invariants = Annotated[InvariantService, Depends(invariant_service)]
Orders = Annotated[OrderService, Depends(order_service)]
Reservations = Annotated[ReservationService, Depends(reservation_service)]
Payments = Annotated[PaymentService, Depends(payment_service)]
Refunds = Annotated[RefundService, Depends(refund_service)]
Timelines = Annotated[TimelineService, Depends(timeline_service)]
StripeWebhooks = Annotated[StripeWebhookService, Depends(stripe_webhook_service)]
