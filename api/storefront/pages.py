"""Answering with a page."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.status import HTTP_303_SEE_OTHER

from api.storefront.card_entry import policy
from api.storefront.form_tokens import FormTokens
from api.storefront.templating import PAGES
from api.users.sessions import SignedInUser

VISIT_COOKIE = "visit"

NOTICES = {
    "listed": "Your ticket is on sale.",
    "saved": "Your changes are saved.",
    "withdrawn": "The ticket is withdrawn.",
    "signed-out": "You are signed out.",
    "cancelled": "The order is cancelled.",
}
"""What a page says on top after something was done; the address names it."""


class PageRoute(APIRoute):
    """A page is there for HEAD as well, which link checkers ask with; the server sends no body."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - as APIRoute's
        super().__init__(*args, **settings)
        methods = self.methods or set()
        self.methods = methods | {"HEAD"} if "GET" in methods else methods


@dataclass(frozen=True)
class Pages:
    """Makes pages for one request, as whoever is signed in sees them."""

    request: Request
    user: SignedInUser | None
    tokens: FormTokens
    is_served_over_https: bool

    def show(
        self,
        template: str,
        *,
        status: int = 200,
        content_policy: str = "",
        may_be_done: Collection[str] = (),
        **values: object,
    ) -> Response:
        """A page, whose forms somebody who is signed in can send.

        What its address claims was done it says only if that may be: addresses are passed on, and
        opened again when much else has happened.
        """
        done = self.request.query_params.get("done", "")
        html = PAGES.get_template(template).render(
            {
                "user": self.user,
                "path": self.request.url.path,
                "here": self._here(),
                "csrf_token": self.tokens.of_session(self.user) if self.user else "",
                "notice": NOTICES[done] if done in may_be_done else None,
                "alert": None,
            }
            | values
        )
        return HTMLResponse(
            html, status, headers={"Content-Security-Policy": content_policy or policy()}
        )

    def ask_visitor(
        self, template: str, *, next: str, email: str, errors: dict[str, str], status: int = 200
    ) -> Response:
        """A page whose form is for somebody without a session.

        It shows nobody signed in, even if another tab has done so meanwhile: the page has one
        token, and signing out wants the session's.
        """
        visit = self.request.cookies.get(VISIT_COOKIE) or uuid4().hex
        response = self.show(
            template,
            status=status,
            next=next,
            email=email,
            errors=errors,
            here=next,
            user=None,
            csrf_token=self.tokens.of_visit(visit),
        )
        response.set_cookie(
            VISIT_COOKIE, visit, httponly=True, samesite="lax", secure=self.is_served_over_https
        )
        return response

    @property
    def is_part(self) -> bool:
        """Whether a page that is shown asks for a part of itself."""
        return is_part_of_page(self.request.headers)

    def _here(self) -> str:
        """Where to come back to after signing in."""
        query = self.request.url.query
        return f"{self.request.url.path}?{query}" if query else self.request.url.path


def is_part_of_page(headers: Headers) -> bool:
    """Whether htmx has sent the request."""
    return "hx-request" in headers


def go_to(path: str) -> Response:
    """Send the browser on, so that reloading the page it arrives at sends no form again."""
    return RedirectResponse(path, HTTP_303_SEE_OTHER)
