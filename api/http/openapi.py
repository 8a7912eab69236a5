"""The description of the API: `/openapi.json`, shown at `/docs`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api.http.problems import FieldProblem, Problem

TITLE = "Holdfast"
VERSION = "0.1.0"

DESCRIPTION = """\
A ticket marketplace in which every purchase is one durable workflow.

Anybody who is signed in lists tickets; anybody else buys them. Buying reserves the ticket for a
while and waits for the payment; without one, the ticket is free again.

- **Sign in** with `POST /api/users/signin` (a cookie) or `POST /api/users/token` (a bearer token).
- **Money** is in minor units: `5000` with `"currency": "usd"` is 50.00 dollars.
- **Refusals** are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems, and their `code`
  never changes. Checks run in this order: signed in (401), well-formed (422), exists (404),
  allowed (403), possible now (409).
- **Limits**: signing up, signing in and ordering too often is answered 429 with `Retry-After`;
  `RateLimit` tells how many requests are left. The limits are checked as soon as it is known whose
  request it is.
- **Overload**: when more people buy than can be served in time, reserving and paying are answered
  503 `overloaded` with `Retry-After`, perhaps before any other check; the request has
  reserved and charged nothing.
- **Lists** are paginated: send `nextCursor` back as `cursor`, with the same filter.
- **Lost answers**: repeat a `POST` of a ticket, an order, a payment or a refund with the same
  `Idempotency-Key`; it is carried out once, and the first answer is repeated.
- **Prices**: `POST /api/orders` with the `price` that the buyer was shown reserves the ticket at
  that price or not at all; the order contains the amount that will be charged.
- **Requests** may carry an `X-Request-Id`, which the answer and the logs repeat.
"""

TAGS = [
    {"name": "users", "description": "Accounts and sessions."},
    {"name": "tickets", "description": "What is for sale."},
    {"name": "orders", "description": "Purchases: a ticket is reserved, then paid or released."},
    {"name": "payments", "description": "Paying for an order."},
    {"name": "webhooks", "description": "For Stripe."},
    {"name": "operations", "description": "For operators, with the operator token."},
    {"name": "health", "description": "For load balancers and orchestrators."},
]

REFERENCE = "#/components/schemas/{model}"
DEFAULT_VALIDATION_SCHEMAS = ("HTTPValidationError", "ValidationError")


def operation_id(route: APIRoute) -> str:
    """The function's name, so that a generated client keeps its names when a path changes."""
    return route.name


def install_openapi(app: FastAPI) -> None:
    """Describe refusals as problems instead of FastAPI's own error bodies."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # as FastAPI documents


def _describe(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = description["components"]["schemas"]
    for name in DEFAULT_VALIDATION_SCHEMAS:
        schemas.pop(name, None)
    _, problem_schemas = models_json_schema(
        [(Problem, "serialization"), (FieldProblem, "serialization")], ref_template=REFERENCE
    )
    schemas |= problem_schemas["$defs"]
    for path in description["paths"].values():
        for operation in path.values():
            _drop_default_validation_error(operation)
    return description


def _drop_default_validation_error(operation: dict[str, Any]) -> None:
    # FastAPI adds it to every route with a parameter, even if every value is valid.
    content = operation["responses"].get("422", {}).get("content", {})
    if "application/json" in content:
        del operation["responses"]["422"]
