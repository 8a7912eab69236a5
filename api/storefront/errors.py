"""Refusals as people see them: a page, or the way to sign in."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from api.http.paths import is_for_programs
from api.http.problems import headers_of, render_problem
from api.storefront.card_entry import policy
from api.storefront.forms import local_path
from api.storefront.pages import go_to, is_part_of_page
from api.storefront.templating import PAGES
from ticketing.errors import NotAuthenticated, StaleForm, TicketingError

HEADINGS = {
    HTTPStatus.FORBIDDEN: "That is not allowed",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.TOO_MANY_REQUESTS: "A little slower, please",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong",
    HTTPStatus.SERVICE_UNAVAILABLE: "Back in a moment",
}
OTHER_HEADING = "That did not work"

MESSAGES = {
    HTTPStatus.INTERNAL_SERVER_ERROR: "The mistake is ours, and it is on record. "
    "Trying again later may help.",
}
"""What is said where the error's own words repeat the heading."""

PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""What the same request may get over by itself."""

SENT_FROM = re.compile(r"(/(orders|tickets|sales)/[0-9a-f]{24})/\w+")
"""The address of a form on the page of one thing, and that page's."""
THINGS = {"orders": "order", "tickets": "ticket", "sales": "sale"}

READING = ("GET", "HEAD")


def render_refusal(
    scope: Scope, error: TicketingError, headers: Mapping[str, str] | None
) -> Response:
    """The refusal in the form that its reader can use: a page, or a problem for a program."""
    render = error_page if wants_page(scope) else render_problem
    return render(scope, error, headers)


def wants_page(scope: Scope) -> bool:
    """Whether a person with a browser asks, or a page of theirs, which accepts whatever comes."""
    if is_for_programs(scope):
        return False
    headers = Headers(scope=scope)
    return is_part_of_page(headers) or "text/html" in headers.get("accept", "")


def error_page(
    scope: Scope, error: TicketingError, headers: Mapping[str, str] | None = None
) -> Response:
    """The page that says it, or the one for signing in; it asks neither database nor session."""
    if isinstance(error, NotAuthenticated) and is_part_of_page(Headers(scope=scope)):
        return Response(status_code=int(error.status), headers={"HX-Refresh": "true"})
    if isinstance(error, NotAuthenticated):
        return go_to(f"/signin?next={quote(_page_asked_for(scope), safe='/')}")
    html = PAGES.get_template("error.html").render(
        heading=HEADINGS.get(error.status, OTHER_HEADING),
        message=error.detail or MESSAGES.get(error.status, error.title),
        again=_again(scope, error),
        back=_back(scope, error),
    )
    return HTMLResponse(
        html,
        int(error.status),
        headers={
            **headers_of(error),
            **(headers or {}),
            "Content-Security-Policy": policy(),
        },
    )


def _again(scope: Scope, error: TicketingError) -> str | None:
    """Where it can be tried again: the same page, or the one whose form was out of date."""
    if isinstance(error, StaleForm):
        return _page_asked_for(scope)
    return _address(scope) if scope["method"] in READING and error.status in PASSING else None


def _back(scope: Scope, error: TicketingError) -> tuple[str, str] | None:
    """The page whose form could not be dealt with, where it is known: what it is of, and where."""
    is_ours = error.status in PASSING or error.status is HTTPStatus.INTERNAL_SERVER_ERROR
    sent_from = SENT_FROM.fullmatch(scope["path"])
    if scope["method"] in READING or sent_from is None or not is_ours:
        return None
    return THINGS[sent_from[2]], sent_from[1]


def _page_asked_for(scope: Scope) -> str:
    """The page itself, or the one with the form that was sent."""
    if scope["method"] in READING:
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
