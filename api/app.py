"""Composition root of the HTTP API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from api.dependencies import refuse_cross_origin_cookie
from api.http.errors import error_handlers
from api.http.metrics import RequestMetrics, RequestMetricsMiddleware
from api.http.middleware import (
    EncodingMiddleware,
    RequestLimitMiddleware,
    RequestLogMiddleware,
    SecurityHeadersMiddleware,
)
from api.http.openapi import DESCRIPTION, TAGS, TITLE, VERSION, install_openapi, operation_id
from api.http.paths import STATIC_PATH
from api.http.problems import problems, render_problem
from api.http.rate_limits import RateLimiter, RateLimitHeadersMiddleware
from api.http.spans import RequestSpansMiddleware
from api.operations import health
from api.operations import routes as operations
from api.orders import routes as orders
from api.orders import timeline_routes
from api.orders.early_refusal import EarlyRefusalMiddleware
from api.orders.refusal_counter import RefusalCounter
from api.payments import routes as payments
from api.payments import webhook_routes
from api.refunds import routes as refunds
from api.resources import Resources, resources_of
from api.storefront.app import Storefront
from api.storefront.assets import static_files
from api.storefront.errors import render_refusal
from api.temporal.admission import Admission
from api.temporal.connection import TemporalConnection
from api.tickets import feed_routes
from api.tickets import routes as tickets
from api.users import routes as users
from api.users.sessions import SessionService
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
    """The API. Its lifespan opens the connections and closes them."""
    app = FastAPIOffline(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lambda app: _lifespan(app, settings),
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        redoc_url=None,
        dependencies=[Depends(refuse_cross_origin_cookie)],
        responses=problems(
            RequestTimeout,
            ContentTooLarge,
            UnsupportedMediaType,
            RequestHeadTooLarge,
            TicketingError,
        ),
    )

    app.include_router(health.router)
    for resource in (
        users,
        feed_routes,  # before the tickets, or "events" would be taken for a ticket's id
        tickets,
        orders,
        timeline_routes,
        payments,
        refunds,
        webhook_routes,
        operations,
    ):
        app.include_router(resource.router, responses=problems(MongoDBUnavailable))

    app.mount(STATIC_PATH, static_files())
    app.router.routes.append(Storefront())

    for kind, handler in error_handlers(render_problem, app.routes).items():
        app.add_exception_handler(kind, handler)
    install_openapi(app)
    # The middleware added last is the outermost.
    app.add_middleware(EncodingMiddleware, render=render_refusal)
    app.add_middleware(
        EarlyRefusalMiddleware,
        admission=lambda: resources_of(app).admission,
        render=render_refusal,
    )
    app.add_middleware(RequestLimitMiddleware, render=render_refusal)
    app.add_middleware(RateLimitHeadersMiddleware)
    app.add_middleware(RequestLogMiddleware, render=render_refusal)
    app.add_middleware(
        SecurityHeadersMiddleware, is_served_over_https=settings.session.cookie_secure
    )
    if settings.metrics.address:
        app.add_middleware(
            RequestMetricsMiddleware, metrics=lambda: resources_of(app).request_metrics
        )
    if settings.tracing.endpoint:
        app.add_middleware(
            RequestSpansMiddleware,
            tracer=lambda: resources_of(app).tracer,
            trusted_proxies=settings.limits.trusted_proxies,
        )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: ApiSettings) -> AsyncIterator[None]:
    async with AsyncExitStack() as closing:
        telemetry = start_telemetry(settings.metrics, settings.tracing, API_SERVICE_NAME)
        closing.push_async_callback(telemetry.stop)
        mongo = await connect_mongodb(settings.mongodb, telemetry.mongodb_listeners())
        closing.push_async_callback(mongo.close)
        connect = partial(
            connect_temporal,
            settings.temporal,
            runtime=telemetry.runtime,
            interceptors=telemetry.interceptors(),
        )
        resources = app.state.resources = Resources(
            settings=settings,
            mongo=mongo,
            temporal=TemporalConnection(connect),
            tracer=telemetry.tracer,
            request_metrics=RequestMetrics(telemetry.meter),
            refusal_counter=RefusalCounter(telemetry.meter),
            rate_limits=RateLimiter(settings.limits),
            sessions=SessionService(settings.session),
            admission=Admission(telemetry.meter),
        )
        for connected in (resources.charge_feed, resources.ticket_feed, resources.temporal):
            closing.push_async_callback(connected.aclose)
        # Everything but buying works without Temporal, so the start does not wait for it. It
        # only begins to connect, so that the first buyer need not wait for that.
        resources.temporal.start_connecting()
        yield
