"""Refusals as people see them: a page, or the way to sign in."""

from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from api.problems import headers_of
from api.storefront.card_entry import policy
from api.storefront.forms import local_path
from api.storefront.pages import go_to
from api.storefront.templating import PAGES
from ticketing.errors import NotAuthenticated, TicketingError

PROGRAMS = ("/api/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static")
"""Paths that only programs ask for."""

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
    if scope["path"].startswith(PROGRAMS):
        return False
    return _is_part_of_page(scope) or "text/html" in Headers(scope=scope).get("accept", "")


def error_page(scope: Scope, error: TicketingError) -> Response:
    """The page that says it, or the one for signing in; it asks neither database nor session."""
    if isinstance(error, NotAuthenticated) and _is_part_of_page(scope):
        return Response(status_code=int(error.status), headers={"HX-Refresh": "true"})
    if isinstance(error, NotAuthenticated):
        return go_to(f"/signin?next={quote(_page_asked_for(scope), safe='/')}")
    html = PAGES.get_template("error.html").render(
        heading=HEADINGS.get(error.status, OTHER_HEADING),
        message=error.detail or error.title,
        again=_address(scope) if _may_pass(scope, error) else None,
    )
    response = HTMLResponse(html, int(error.status), headers=headers_of(error))
    response.headers["Content-Security-Policy"] = policy()
    return response


def _is_part_of_page(scope: Scope) -> bool:
    """Whether a page that is shown asks for a part of itself, rather than a person for a page."""
    return "hx-request" in Headers(scope=scope)


def _may_pass(scope: Scope, error: TicketingError) -> bool:
    return scope["method"] == "GET" and error.status in PASSING


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
