"""Refusals as people see them: a page, or the way to sign in."""

from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from api.problems import headers_of
from api.storefront.card_entry import policy
from api.storefront.forms import local_path
from api.storefront.pages import go_to, is_part_of_page
from api.storefront.templating import PAGES
from ticketing.errors import NotAuthenticated, StaleForm, TicketingError

PROGRAMS = frozenset(
    {"api", "docs", "openapi.json", "healthz", "readyz", "static", "static-offline-docs"}
)
"""What the paths begin with that only programs ask for."""

HEADINGS = {
    HTTPStatus.FORBIDDEN: "That is not allowed",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.TOO_MANY_REQUESTS: "A little slower, please",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong",
    HTTPStatus.SERVICE_UNAVAILABLE: "Back in a moment",
}
OTHER_HEADING = "That did not work"

PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""What the same request may get over by itself."""


def wants_page(scope: Scope) -> bool:
    """Whether a person with a browser asks, or a page of theirs, which accepts whatever comes."""
    if scope["path"].removeprefix("/").partition("/")[0] in PROGRAMS:
        return False
    headers = Headers(scope=scope)
    return is_part_of_page(headers) or "text/html" in headers.get("accept", "")


def error_page(scope: Scope, error: TicketingError) -> Response:
    """The page that says it, or the one for signing in; it asks neither database nor session."""
    if isinstance(error, NotAuthenticated) and is_part_of_page(Headers(scope=scope)):
        return Response(status_code=int(error.status), headers={"HX-Refresh": "true"})
    if isinstance(error, NotAuthenticated):
        return go_to(f"/signin?next={quote(_page_asked_for(scope), safe='/')}")
    html = PAGES.get_template("error.html").render(
        heading=HEADINGS.get(error.status, OTHER_HEADING),
        message=error.detail or error.title,
        again=_again(scope, error),
    )
    response = HTMLResponse(html, int(error.status), headers=headers_of(error))
    response.headers["Content-Security-Policy"] = policy()
    return response


def _again(scope: Scope, error: TicketingError) -> str | None:
    """Where it can be tried again: the same page, or the one whose form was out of date."""
    if isinstance(error, StaleForm):
        return _page_asked_for(scope)
    return _address(scope) if scope["method"] == "GET" and error.status in PASSING else None


def _page_asked_for(scope: Scope) -> str:
    """The page itself, or the one with the form that was sent."""
    if scope["method"] == "GET":
        return _address(scope)
    try:
        sent_from = urlsplit(Headers(scope=scope).get("referer", ""))
    except ValueError:
        return "/"
    return local_path(f"{sent_from.path}?{sent_from.query}" if sent_from.query else sent_from.path)


def _address(scope: Scope) -> str:
    query = scope["query_string"].decode("ascii", "replace")
    path = quote(scope["path"])
    return local_path(f"{path}?{query}" if query else path)
