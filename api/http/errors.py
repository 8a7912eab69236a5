"""From an exception to what the caller is told."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

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
from starlette.routing import BaseRoute, Match, Mount

from api.dependencies import current_user
from api.http.problems import Render
from api.resources import resources_of
from ticketing.errors import (
    ContentTooLarge,
    FieldError,
    InvalidInput,
    MalformedRequest,
    MethodNotAllowed,
    MongoDBUnavailable,
    RequestTimeout,
    RouteNotFound,
    TicketingError,
    UnsupportedMediaType,
)

logger = logging.getLogger(__name__)

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


Handler = Callable[[Request, Exception], Awaitable[Response]]


def error_handlers(render: Render, routes: Sequence[BaseRoute]) -> dict[type[Exception], Handler]:
    """How every error is answered that one of the routes may end in.

    The rest are mistakes of ours, for the outermost middleware.
    """
    errors = ErrorRenderer(render, routes)
    return {
        TicketingError: errors.ticketing_error,
        RequestValidationError: errors.validation_error,
        HTTPException: errors.http_exception,
        PyMongoError: errors.mongodb_error,
    }


class ErrorRenderer:
    """From an exception to the refusal, and to its answer."""

    def __init__(self, render: Render, routes: Sequence[BaseRoute]) -> None:
        self._render = render
        self._routes = routes

    async def ticketing_error(self, request: Request, error: Exception) -> Response:
        return self._render(request.scope, cast(TicketingError, error), None)

    async def validation_error(self, request: Request, error: Exception) -> Response:
        problems = cast(RequestValidationError, error).errors()
        if any(problem["type"] == "json_invalid" for problem in problems):
            message = f"is not valid JSON: {problems[0]['ctx']['error']}"
            return await self._unreadable_body(request, message)
        invalid = InvalidInput([_describe(problem) for problem in problems])
        return self._render(request.scope, invalid, None)

    async def http_exception(self, request: Request, error: Exception) -> Response:
        exception = cast(HTTPException, error)
        if exception.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's, for any other broken body
            return await self._unreadable_body(request, "cannot be decoded")
        kind = BY_STATUS.get(exception.status_code, MalformedRequest)
        headers = exception.headers
        if kind is MethodNotAllowed:
            allowed = ", ".join(self._methods_of(request)) or "GET, HEAD"  # files: those two
            headers = {"Allow": allowed}
        return self._render(request.scope, kind(), headers)

    async def mongodb_error(self, request: Request, error: Exception) -> Response:
        failure = cast(PyMongoError, error)
        if isinstance(failure, ConnectionFailure) or failure.timeout:
            logger.warning("MongoDB does not respond: %s", type(failure).__name__)
        elif isinstance(failure, OperationFailure) and failure.code in MONGODB_REFUSALS:
            # Not its text, which may repeat the document.
            logger.error("MongoDB refuses: %s, code %s", type(failure).__name__, failure.code)
        else:
            raise failure
        return self._render(request.scope, MongoDBUnavailable(), None)

    async def _unreadable_body(self, request: Request, message: str) -> Response:
        # FastAPI reads a body before it runs dependencies, but whoever has to sign in first hears
        # about that first.
        route = request.scope.get("route")
        if isinstance(route, APIRoute) and _needs_session(route.dependant):
            try:
                await resources_of(request.app).sessions.required(request)
            except TicketingError as error:
                return self._render(request.scope, error, None)
        return self._render(request.scope, InvalidInput([FieldError("body", message)]), None)

    def _methods_of(self, request: Request) -> list[str]:
        """All that the path answers to; a router names those of one of its routes."""
        routes = [route for route in self._routes if not isinstance(route, Mount)]
        return [
            method
            for method in METHODS
            if any(
                route.matches({**request.scope, "method": method})[0] is Match.FULL
                for route in routes
            )
        ]


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
