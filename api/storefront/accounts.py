"""Signing up, in and out."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import RateLimits, SameOrigin, Sessions, Users
from api.http.rate_limits import SIGN_IN_LIMITS, SIGN_UP_LIMITS
from api.storefront.dependencies import Pages, SignedInForm, VisitorForm
from api.storefront.forms import Form, InvalidForm, local_path, validate_form
from api.storefront.pages import PageRenderer, PageRoute, redirect_to
from api.users.routes import SignInBody, SignUpBody
from api.users.service import canonical_email
from ticketing.errors import EmailTaken, InvalidCredentials, TooManyRequests
from ticketing.models import User

router = APIRouter(route_class=PageRoute)

Authenticate = Callable[[], Awaitable[User]]


@router.get("/signup")
async def show_sign_up(pages: Pages, next: str = "/") -> Response:
    return _show_form(pages, "signup.html", next)


@router.post("/signup", dependencies=[SameOrigin])
async def sign_up(
    request: Request,
    form: VisitorForm,
    users: Users,
    sessions: Sessions,
    limits: RateLimits,
    pages: Pages,
) -> Response:
    async def authenticate() -> User:
        body = validate_form(SignUpBody, _credentials(form))
        await limits.count(SIGN_UP_LIMITS, request, canonical_email(body.email))
        return await users.sign_up(body.email, body.password)

    return await _start_session(authenticate, "signup.html", form, sessions, pages)


@router.get("/signin")
async def show_sign_in(pages: Pages, next: str = "/") -> Response:
    return _show_form(pages, "signin.html", next)


@router.post("/signin", dependencies=[SameOrigin])
async def sign_in(
    request: Request,
    form: VisitorForm,
    users: Users,
    sessions: Sessions,
    limits: RateLimits,
    pages: Pages,
) -> Response:
    async def authenticate() -> User:
        body = validate_form(SignInBody, _credentials(form))
        await limits.count(SIGN_IN_LIMITS, request, canonical_email(body.email))
        return await users.authenticate(body.email, body.password)

    return await _start_session(authenticate, "signin.html", form, sessions, pages)


@router.post("/signout")
async def sign_out(request: Request, form: SignedInForm, sessions: Sessions) -> Response:
    await sessions.revoke(request)
    response = redirect_to("/?done=signed-out")
    sessions.clear_cookie(response)
    return response


@router.get("/signout")
async def redirect_sign_out() -> Response:
    """Redirects GETs of the form's POST address."""
    return redirect_to("/")


def _show_form(pages: PageRenderer, template: str, next: str) -> Response:
    """The empty form, or a redirect for a user who is signed in already."""
    next = local_path(next)
    if pages.user is not None:
        return redirect_to(next)
    return pages.render_visitor_form(template, next=next, email="", errors={})


async def _start_session(
    authenticate: Authenticate, template: str, form: Form, sessions: Sessions, pages: PageRenderer
) -> Response:
    """Start a session and redirect, or show the form again with its errors."""
    next = local_path(form.get("next", "/"))
    try:
        user = await authenticate()
    except (InvalidForm, EmailTaken, InvalidCredentials, TooManyRequests) as error:
        status, errors = _form_errors(error)
        refused = pages.render_visitor_form(
            template, status=status, next=next, email=form.get("email", ""), errors=errors
        )
        if isinstance(error, TooManyRequests):
            refused.headers.update(error.headers())
        return refused
    response = redirect_to(next)
    sessions.set_cookie(response, sessions.issue(user))
    return response


def _form_errors(
    error: InvalidForm | EmailTaken | InvalidCredentials | TooManyRequests,
) -> tuple[int, dict[str, str]]:
    match error:
        case InvalidForm(errors=errors):
            return 422, errors
        case EmailTaken():
            return int(error.status), {"email": error.title}
        case InvalidCredentials():
            return int(error.status), {"form": error.title}
    return int(error.status), {"form": f"{error.title} Try again {_in_time(error.retry_after)}."}


def _in_time(seconds: int) -> str:
    if seconds < 60:
        return f"in {seconds} seconds"
    minutes = -(-seconds // 60)
    return "in a minute" if minutes == 1 else f"in {minutes} minutes"


def _credentials(form: Form) -> dict[str, str]:
    return {"email": form.get("email", "").strip(), "password": form.get("password", "")}
