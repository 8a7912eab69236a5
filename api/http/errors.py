"""From an exception to what the caller is told."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pymongo.errors import (
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from api.dependencies import current_user, sessions_of
from api.http.refusals import refusal
from ticketing.errors import (
    ContentTooLarge,
    FieldError,
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    MongoDBUnavailable,
    RequestTimeout,
    RouteNotFound,
    TemporalUnavailable,
    TicketingError,
    UnsupportedMediaType,
)

logger = logging.getLogger(__name__)

TEMPORAL_OUTAGES = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.UNKNOWN,  # a connection that broke in the middle of an answer
        RPCStatusCode.INTERNAL,  # likewise, or the server cannot reach its own database
        RPCStatusCode.FAILED_PRECONDITION,  # a worker fails at the workflow's task, for now
    }
)
NO_TEMPORAL_CONNECTION = "Failed client connect"
"""How the message of a lazy client's first call begins; its class is a bare RuntimeError."""

BY_STATUS: dict[int, type[TicketingError]] = {
    HTTPStatus.NOT_FOUND: RouteNotFound,
    HTTPStatus.METHOD_NOT_ALLOWED: MethodNotAllowed,
    HTTPStatus.REQUEST_TIMEOUT: RequestTimeout,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ContentTooLarge,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: UnsupportedMediaType,
}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

MONGODB_REFUSALS = {
    13,  # Unauthorized: a role was revoked
    18,  # AuthenticationFailed
    121,  # DocumentValidationFailure
    8000,  # AtlasError: among others, a cluster out of space
    14031,  # OutOfDiskSpace
}
"""Answers of a database that works, and will not write for now; others are mistakes of ours.

Source: https://www.mongodb.com/docs/manual/reference/error-codes/
"""

LONGEST_ECHO = 80
"""Characters of a field's name that are said back."""


def install_error_handlers(app: FastAPI) -> None:
    """Render every error that a route may end in; the rest is for the outermost middleware."""
    app.add_exception_handler(TicketingError, _ticketing_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(PyMongoError, _mongodb_error)
    app.add_exception_handler(RPCError, _temporal_error)
    app.add_exception_handler(WorkflowUpdateRPCTimeoutOrCancelledError, _temporal_error)
    app.add_exception_handler(RuntimeError, _temporal_error)


async def _ticketing_error(request: Request, error: Exception) -> Response:
    return refusal(request.scope, cast(TicketingError, error))


async def _validation_error(request: Request, error: Exception) -> Response:
    problems = cast(RequestValidationError, error).errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return await _unreadable_body(request, f"is not valid JSON: {problems[0]['ctx']['error']}")
    return refusal(request.scope, InvalidInput([_describe(problem) for problem in problems]))


async def _http_exception(request: Request, error: Exception) -> Response:
    exception = cast(HTTPException, error)
    if exception.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's, for any other broken body
        return await _unreadable_body(request, "cannot be decoded")
    kind = BY_STATUS.get(exception.status_code, MalformedRequest)
    headers = exception.headers
    if kind is MethodNotAllowed:
        headers = {"Allow": ", ".join(_methods_of(request)) or "GET, HEAD"}  # files: those two
    return refusal(request.scope, kind(), headers)


def _methods_of(request: Request) -> list[str]:
    """All that the path answers to; a router names those of one of its routes."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


async def _mongodb_error(request: Request, error: Exception) -> Response:
    failure = cast(PyMongoError, error)
    if isinstance(failure, ConnectionFailure) or failure.timeout:
        logger.warning("MongoDB does not respond: %s", type(failure).__name__)
    elif isinstance(failure, OperationFailure) and failure.code in MONGODB_REFUSALS:
        # Not its text, which may repeat the document.
        logger.error("MongoDB refuses: %s, code %s", type(failure).__name__, failure.code)
    else:
        raise failure
    return refusal(request.scope, MongoDBUnavailable())


async def _temporal_error(request: Request, error: Exception) -> Response:
    match error:
        case RPCError(status=status) if status not in TEMPORAL_OUTAGES:
            raise error
        case RuntimeError() if not str(error).startswith(NO_TEMPORAL_CONNECTION):
            raise error
    logger.warning("Temporal does not respond: %s", type(error).__name__)
    return refusal(request.scope, TemporalUnavailable())


async def _unreadable_body(request: Request, message: str) -> Response:
    # FastAPI reads a body before it runs dependencies, but whoever has to sign in first hears
    # about that first.
    route = request.scope.get("route")
    if isinstance(route, APIRoute) and _needs_session(route.dependant):
        try:
            await sessions_of(request).required(request)
        except TicketingError as error:
            return refusal(request.scope, error)
    return refusal(request.scope, InvalidInput([FieldError("body", message)]))


def _needs_session(dependant: Dependant) -> bool:
    return any(
        inner.call is current_user or _needs_session(inner) for inner in dependant.dependencies
    )


def _describe(problem: Mapping[str, Any]) -> FieldError:
    place, *path = problem["loc"]
    field = ".".join(str(step) for step in path)[:LONGEST_ECHO] or str(place)
    return FieldError(field, _message_of(problem))


def _message_of(problem: Mapping[str, Any]) -> str:
    match problem["type"]:
        case "model_attributes_type" | "dict_type":
            return "must be a JSON object, sent as application/json"
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a field of this request"
    return re.sub("^Value error, ", "", str(problem["msg"]))
