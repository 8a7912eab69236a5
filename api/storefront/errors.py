"""Error pages, and the redirect to the sign-in page."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from api.http.paths import is_page_path
from api.http.problems import render_problem
from api.storefront.card_entry import content_security_policy
from api.storefront.forms import local_path
from api.storefront.pages import is_htmx_request, redirect_to
from api.storefront.templating import TEMPLATES
from api.users.sessions import SAFE_METHODS
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
"""The message where the error's own title would repeat the heading."""

TRANSIENT_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Errors after which the same request may succeed later."""

FORM_PATH = re.compile(r"(/(orders|tickets|sales)/[0-9a-f]{24})/\w+")
"""The path of a form on the page of an order, ticket or sale; group 1 is the page's path."""
NOUNS = {"orders": "order", "tickets": "ticket", "sales": "sale"}


def render_refusal(
    scope: Scope, error: TicketingError, headers: Mapping[str, str] | None
) -> Response:
    """The refusal as a page for a browser, otherwise as a problem."""
    render = error_page if wants_page(scope) else render_problem
    return render(scope, error, headers)


def wants_page(scope: Scope) -> bool:
    """Whether a browser or htmx sent the request; htmx accepts any type."""
    if not is_page_path(scope):
        return False
    headers = Headers(scope=scope)
    return is_htmx_request(headers) or "text/html" in headers.get("accept", "")


def error_page(
    scope: Scope, error: TicketingError, headers: Mapping[str, str] | None = None
) -> Response:
    """The error page, or a redirect to sign in; needs neither the database nor the session."""
    if isinstance(error, NotAuthenticated) and is_htmx_request(Headers(scope=scope)):
        return Response(status_code=int(error.status), headers={"HX-Refresh": "true"})
    if isinstance(error, NotAuthenticated):
        return redirect_to(f"/signin?next={quote(_page_asked_for(scope), safe='/')}")
    html = TEMPLATES.get_template("error.html").render(
        heading=HEADINGS.get(error.status, OTHER_HEADING),
        message=error.detail or MESSAGES.get(error.status, error.title),
        again=_retry_address(scope, error),
        back=_back_link(scope, error),
    )
    return HTMLResponse(
        html,
        int(error.status),
        headers={
            **error.headers(),
            **(headers or {}),
            "Content-Security-Policy": content_security_policy(),
        },
    )


def _retry_address(scope: Scope, error: TicketingError) -> str | None:
    """The link to try again: the same page, or the page whose form was outdated."""
    if isinstance(error, StaleForm):
        return _page_asked_for(scope)
    return (
        _address(scope)
        if scope["method"] in SAFE_METHODS and error.status in TRANSIENT_STATUSES
        else None
    )


def _back_link(scope: Scope, error: TicketingError) -> tuple[str, str] | None:
    """The link back to the page whose form failed, if it is known: its noun and its path."""
    is_ours = error.status in TRANSIENT_STATUSES or error.status is HTTPStatus.INTERNAL_SERVER_ERROR
    sent_from = FORM_PATH.fullmatch(scope["path"])
    if scope["method"] in SAFE_METHODS or sent_from is None or not is_ours:
        return None
    return NOUNS[sent_from[2]], sent_from[1]


def _page_asked_for(scope: Scope) -> str:
    """The requested page, or for a form the page that it is on."""
    if scope["method"] in SAFE_METHODS:
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
