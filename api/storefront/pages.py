"""Rendering of pages, and redirects."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.status import HTTP_303_SEE_OTHER

from api.storefront.card_entry import content_security_policy
from api.storefront.form_tokens import FormTokens
from api.storefront.templating import TEMPLATES
from api.users.sessions import SignedInUser

VISIT_COOKIE = "visit"

NOTICES = {
    "listed": "Your ticket is on sale.",
    "saved": "Your changes are saved.",
    "withdrawn": "The ticket is withdrawn.",
    "signed-out": "You are signed out.",
    "cancelled": "The order is cancelled.",
}
"""The notices on top of a page, by the `done` parameter of its address."""


class PageRoute(APIRoute):
    """Answers HEAD as well, which link checkers use; the server sends no body."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - as APIRoute's
        super().__init__(*args, **settings)
        methods = self.methods or set()
        self.methods = methods | {"HEAD"} if "GET" in methods else methods


@dataclass(frozen=True)
class PageRenderer:
    """Renders pages for one request and its user."""

    request: Request
    user: SignedInUser | None
    tokens: FormTokens
    is_served_over_https: bool

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        content_policy: str = "",
        allowed_notices: Collection[str] = (),
        **values: object,
    ) -> Response:
        """A page, whose forms have the token of the session.

        The notice that the address asks for is shown only if it is allowed, because addresses are
        shared, and opened again later when the notice is no longer true.
        """
        done = self.request.query_params.get("done", "")
        html = TEMPLATES.get_template(template).render(
            {
                "user": self.user,
                "path": self.request.url.path,
                "here": self._current_address(),
                "csrf_token": self.tokens.for_session(self.user) if self.user else "",
                "notice": NOTICES[done] if done in allowed_notices else None,
                "alert": None,
            }
            | values
        )
        return HTMLResponse(
            html,
            status,
            headers={"Content-Security-Policy": content_policy or content_security_policy()},
        )

    def render_visitor_form(
        self, template: str, *, next: str, email: str, errors: dict[str, str], status: int = 200
    ) -> Response:
        """A page with a form for signing in or up.

        It is rendered as for a visitor, even if another tab has signed in meanwhile: the page has
        only the visitor's token, and the sign-out form would need the session's.
        """
        visit = self.request.cookies.get(VISIT_COOKIE) or uuid4().hex
        response = self.render(
            template,
            status=status,
            next=next,
            email=email,
            errors=errors,
            here=next,
            user=None,
            csrf_token=self.tokens.for_visit(visit),
        )
        response.set_cookie(
            VISIT_COOKIE, visit, httponly=True, samesite="lax", secure=self.is_served_over_https
        )
        return response

    @property
    def is_htmx_request(self) -> bool:
        return is_htmx_request(self.request.headers)

    def _current_address(self) -> str:
        """The address to return to after signing in."""
        query = self.request.url.query
        return f"{self.request.url.path}?{query}" if query else self.request.url.path


def is_htmx_request(headers: Headers) -> bool:
    return "hx-request" in headers


def redirect_to(path: str) -> Response:
    """Redirect with 303, so that reloading the page does not send the form again."""
    return RedirectResponse(path, HTTP_303_SEE_OTHER)
