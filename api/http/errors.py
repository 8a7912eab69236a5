"""Exception handlers: each exception becomes a refusal, rendered as an answer."""

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

ERRORS_BY_STATUS: dict[int, type[TicketingError]] = {
    HTTPStatus.NOT_FOUND: RouteNotFound,
    HTTPStatus.METHOD_NOT_ALLOWED: MethodNotAllowed,
    HTTPStatus.REQUEST_TIMEOUT: RequestTimeout,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ContentTooLarge,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: UnsupportedMediaType,
}

ROUTABLE_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

MONGODB_UNAVAILABLE_CODES = {
    13,  # Unauthorized: a role was revoked
    18,  # AuthenticationFailed
    121,  # DocumentValidationFailure
    8000,  # AtlasError: among others, a cluster out of space
    14031,  # OutOfDiskSpace
}
"""Errors of a working database that refuses to write for now; others are bugs of ours.

Source: https://www.mongodb.com/docs/manual/reference/error-codes/
"""

MAX_FIELD_NAME_LENGTH = 80
"""Longer names of fields are cut off in error messages."""

Handler = Callable[[Request, Exception], Awaitable[Response]]


def error_handlers(render: Render, routes: Sequence[BaseRoute]) -> dict[type[Exception], Handler]:
    """The handlers for every expected error of the routes.

    Other exceptions are bugs and reach the outermost middleware.
    """
    errors = ErrorRenderer(render, routes)
    return {
        TicketingError: errors.ticketing_error,
        RequestValidationError: errors.validation_error,
        HTTPException: errors.http_exception,
        PyMongoError: errors.mongodb_error,
    }


class ErrorRenderer:
    """Turns exceptions into refusals and renders them."""

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
        if exception.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI: any other unreadable body
            return await self._unreadable_body(request, "cannot be decoded")
        kind = ERRORS_BY_STATUS.get(exception.status_code, MalformedRequest)
        headers = exception.headers
        if kind is MethodNotAllowed:
            allowed = ", ".join(self._allowed_methods(request)) or "GET, HEAD"  # static files
            headers = {"Allow": allowed}
        return self._render(request.scope, kind(), headers)

    async def mongodb_error(self, request: Request, error: Exception) -> Response:
        failure = cast(PyMongoError, error)
        if isinstance(failure, ConnectionFailure) or failure.timeout:
            logger.warning("MongoDB does not respond: %s", type(failure).__name__)
        elif isinstance(failure, OperationFailure) and failure.code in MONGODB_UNAVAILABLE_CODES:
            # Not its message, which may contain the document.
            logger.error("MongoDB refuses: %s, code %s", type(failure).__name__, failure.code)
        else:
            raise failure
        return self._render(request.scope, MongoDBUnavailable(), None)

    async def _unreadable_body(self, request: Request, message: str) -> Response:
        # FastAPI reads the body before it runs the dependencies. But 401 takes precedence over 422,
        # so the session is checked here.
        route = request.scope.get("route")
        if isinstance(route, APIRoute) and _needs_session(route.dependant):
            try:
                await resources_of(request.app).sessions.require_user(request)
            except TicketingError as error:
                return self._render(request.scope, error, None)
        return self._render(request.scope, InvalidInput([FieldError("body", message)]), None)

    def _allowed_methods(self, request: Request) -> list[str]:
        """All methods of the path; Starlette's `Allow` has only those of one matching route."""
        routes = [route for route in self._routes if not isinstance(route, Mount)]
        return [
            method
            for method in ROUTABLE_METHODS
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
    location, *path = problem["loc"]
    field = ".".join(str(step) for step in path)[:MAX_FIELD_NAME_LENGTH] or str(location)
    return FieldError(field, _field_message(problem))


def _field_message(problem: Mapping[str, Any]) -> str:
    match problem["type"]:
        case "model_attributes_type" | "dict_type":
            return "must be a JSON object, sent as application/json"
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a field of this request"
    return re.sub("^Value error, ", "", str(problem["msg"]))
