"""The sandbox as an ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stripe_sandbox.api import CORS, Endpoint, StripeApi
from stripe_sandbox.bank import Bank
from stripe_sandbox.calls import Call
from stripe_sandbox.config import SandboxConfig
from stripe_sandbox.connections import TRANSPORT, transport_of
from stripe_sandbox.control import fault_routes, ledger_routes, refund_routes
from stripe_sandbox.endpoints import ENDPOINTS
from stripe_sandbox.errors import UnrecognizedUrl, server_failure_body
from stripe_sandbox.faults import Faults
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.pages import Pages
from stripe_sandbox.webhooks import WebhookDeliverer, WebhookDestination

MAX_BODY_BYTES = 1024 * 1024
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Sandbox(Starlette):
    """The application, with the parts that tests use directly."""

    api: StripeApi
    bank: Bank

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; the scope carries the transport, which a fault may abort."""
        if scope["type"] == "http":
            scope[TRANSPORT] = transport_of(send)
        await super().__call__(scope, receive, send)


def create_sandbox(
    config: SandboxConfig, *, webhook_transport: httpx.AsyncBaseTransport | None = None
) -> Sandbox:
    """Create a sandbox; its lifespan delivers webhooks and closes the ledger at the end.

    `webhook_transport` carries the webhooks, for an endpoint in the same process.
    """
    ledger = Ledger(config.database)
    destination = None
    if config.webhook_urls and config.webhook_secret is not None:
        destination = WebhookDestination(
            config.webhook_urls, config.webhook_secret, config.enabled_events
        )
    webhooks = WebhookDeliverer(ledger, destination, config.webhook_retry_delays, webhook_transport)
    faults = Faults()
    api = StripeApi(ledger, faults, webhooks)

    def buyer_call() -> Call:
        """The call of a buyer's decision on the bank's page, which is no API request."""
        webhooks.wake()
        return Call(ledger=ledger, form={}, base_url="", destination=webhooks.destination)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        delivering = asyncio.create_task(webhooks.run())
        try:
            yield
        finally:
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await delivering
            ledger.close()

    bank = Bank(ledger, buyer_call)
    sandbox = Sandbox(
        routes=[
            *_stripe_routes(api),
            *([*fault_routes(faults), *refund_routes(bank)] if config.allow_faults else []),
            *ledger_routes(ledger),
            *Pages(ledger, bank, config.merchant).routes(),
        ],
        exception_handlers={Exception: _internal_error},
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
    )
    sandbox.api, sandbox.bank = api, bank
    return sandbox


def _stripe_routes(api: StripeApi) -> list[Route]:
    routes = [
        Route(endpoint.path, _handler(api, endpoint), methods=[endpoint.method])
        for endpoint in ENDPOINTS
    ]
    preflights = [
        Route(path, _preflight, methods=["OPTIONS"])
        for path in sorted({endpoint.path for endpoint in ENDPOINTS if endpoint.publishable})
    ]
    return [*routes, *preflights, Route("/v1/{rest:path}", _unrecognized, methods=_METHODS)]


def _handler(
    api: StripeApi, endpoint: Endpoint
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def serve(request: Request) -> Response:
        return await api.serve(endpoint, request)

    return serve


async def _preflight(request: Request) -> Response:
    return Response(status_code=204, headers=CORS)


async def _unrecognized(request: Request) -> Response:
    error = UnrecognizedUrl(request.method, request.url.path)
    return JSONResponse(error.body(), error.status)


async def _internal_error(request: Request, error: Exception) -> Response:
    return JSONResponse(server_failure_body(), 500)
