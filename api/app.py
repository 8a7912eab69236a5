"""Composition root of the HTTP API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi_offline import FastAPIOffline

from api.dependencies import sessions_of
from api.http.errors import install_error_handlers
from api.http.metrics import RequestMetrics, RequestMetricsMiddleware
from api.http.middleware import (
    EncodingMiddleware,
    RequestLimitMiddleware,
    RequestLogMiddleware,
    SecurityHeadersMiddleware,
)
from api.http.openapi import DESCRIPTION, TAGS, TITLE, VERSION, install_openapi, operation_id
from api.http.problems import problems
from api.http.rate_limits import RateLimitHeadersMiddleware, RateLimits
from api.http.spans import RequestSpansMiddleware
from api.operations import health
from api.operations import routes as operations
from api.orders import routes as orders
from api.orders import timeline_routes
from api.orders.refusal_counter import RefusedOrders
from api.orders.ticket_turns import TicketTurns
from api.payments import routes as payments
from api.payments import webhook_routes
from api.refunds import routes as refunds
from api.storefront import routes as storefront
from api.storefront.assets import PATH as STATIC_PATH
from api.storefront.assets import static_files
from api.temporal.probe import TemporalProbe
from api.tickets import feed_routes
from api.tickets import routes as tickets
from api.tickets.feed import TicketFeed
from api.users import routes as users
from api.users.passwords import Passwords
from api.users.sessions import Sessions
from ticketing.errors import (
    ContentTooLarge,
    MongoDBUnavailable,
    RequestHeadTooLarge,
    RequestTimeout,
    TicketingError,
    UnsupportedMediaType,
)
from ticketing.mongodb import connect_mongodb
from ticketing.observability.telemetry import start_telemetry
from ticketing.observability.tracing import API_SERVICE_NAME
from ticketing.settings import ApiSettings
from ticketing.temporal import connect_temporal


def create_app(settings: ApiSettings) -> FastAPI:
    """The API; it connects when its lifespan starts, and closes what it opened when it ends."""
    app = FastAPIOffline(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=_lifespan,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        redoc_url=None,
        dependencies=[Depends(refuse_foreign_cookie)],
        responses=problems(
            RequestTimeout,
            ContentTooLarge,
            UnsupportedMediaType,
            RequestHeadTooLarge,
            TicketingError,
        ),
    )
    app.state.settings = settings
    app.state.sessions = Sessions(settings.session)
    app.state.passwords = Passwords()
    app.state.rate_limits = RateLimits(settings.limits)
    app.state.ticket_feed = TicketFeed()
    app.state.ticket_turns = TicketTurns()
    app.state.temporal_probe = TemporalProbe()
    app.state.is_draining = False

    app.include_router(health.router)
    for resource in (
        users,
        feed_routes,  # before the tickets, lest it is taken for the id of one
        tickets,
        orders,
        timeline_routes,
        payments,
        refunds,
        webhook_routes,
        operations,
    ):
        app.include_router(resource.router, responses=problems(MongoDBUnavailable))

    app.include_router(storefront.router)
    app.mount(STATIC_PATH, static_files())

    install_error_handlers(app)
    install_openapi(app)
    # The last one added is the outermost.
    app.add_middleware(EncodingMiddleware)
    app.add_middleware(RequestLimitMiddleware)
    app.add_middleware(RateLimitHeadersMiddleware)
    app.add_middleware(RequestLogMiddleware)
    app.add_middleware(
        SecurityHeadersMiddleware, is_served_over_https=settings.session.cookie_secure
    )
    if settings.metrics.address:
        app.add_middleware(RequestMetricsMiddleware)
    if settings.tracing.endpoint:
        app.add_middleware(RequestSpansMiddleware, trusted_proxies=settings.limits.trusted_proxies)
    return app


async def refuse_foreign_cookie(request: Request) -> None:
    sessions_of(request).refuse_foreign_cookie(request)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: ApiSettings = app.state.settings
    telemetry = start_telemetry(settings.metrics, settings.tracing, API_SERVICE_NAME)
    app.state.tracer = telemetry.tracer
    app.state.request_metrics = RequestMetrics(telemetry.meter)
    app.state.refused_orders = RefusedOrders(telemetry.meter)
    app.state.mongo = await connect_mongodb(settings.mongodb, telemetry.mongodb_listeners())
    try:
        # Lazily: without Temporal nobody can buy, but everybody can still look.
        app.state.temporal = await connect_temporal(
            settings.temporal,
            lazy=True,
            runtime=telemetry.runtime,
            interceptors=telemetry.interceptors(),
        )
        # At once, so that neither the first buyer has to wait for the connection nor whoever runs
        # this for a word about why there is none.
        app.state.temporal_probe.ask(app.state.temporal)
        yield
    finally:
        await app.state.temporal_probe.aclose()
        await app.state.ticket_feed.aclose()
        await app.state.mongo.close()
        await telemetry.stop()
