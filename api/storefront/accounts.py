"""Signing up, in and out."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import RateLimits, SameOrigin, Sessions, Users
from api.http.problems import headers_of
from api.http.rate_limits import SIGN_IN, SIGN_UP
from api.storefront.dependencies import Page, SignedInForm, VisitorForm
from api.storefront.forms import Form, InvalidForm, local_path, validated
from api.storefront.pages import PageRoute, Pages, go_to
from api.users.routes import SignInInput, SignUpInput
from api.users.service import account_name
from ticketing.errors import EmailTaken, InvalidCredentials, TooManyRequests
from ticketing.models import User

router = APIRouter(route_class=PageRoute)

Enter = Callable[[], Awaitable[User]]


@router.get("/signup")
async def show_sign_up(page: Page, next: str = "/") -> Response:
    return _ask(page, "signup.html", next)


@router.post("/signup", dependencies=[SameOrigin])
async def sign_up(
    request: Request,
    form: VisitorForm,
    users: Users,
    sessions: Sessions,
    limits: RateLimits,
    page: Page,
) -> Response:
    async def enter() -> User:
        wanted = validated(SignUpInput, _credentials(form))
        await limits.count(SIGN_UP, request, account_name(wanted.email))
        return await users.sign_up(wanted.email, wanted.password)

    return await _enter(enter, "signup.html", form, sessions, page)


@router.get("/signin")
async def show_sign_in(page: Page, next: str = "/") -> Response:
    return _ask(page, "signin.html", next)


@router.post("/signin", dependencies=[SameOrigin])
async def sign_in(
    request: Request,
    form: VisitorForm,
    users: Users,
    sessions: Sessions,
    limits: RateLimits,
    page: Page,
) -> Response:
    async def enter() -> User:
        wanted = validated(SignInInput, _credentials(form))
        await limits.count(SIGN_IN, request, account_name(wanted.email))
        return await users.authenticate(wanted.email, wanted.password)

    return await _enter(enter, "signin.html", form, sessions, page)


@router.post("/signout")
async def sign_out(request: Request, form: SignedInForm, sessions: Sessions) -> Response:
    await sessions.revoke(request)
    response = go_to("/?done=signed-out")
    sessions.clear_cookie(response)
    return response


@router.get("/signout")
async def look_around() -> Response:
    """Where an outage stands in the address bar, and is gone to again."""
    return go_to("/")


def _ask(page: Pages, template: str, next: str) -> Response:
    """The empty form; whoever is signed in already has nothing to do with it."""
    next = local_path(next)
    if page.user is not None:
        return go_to(next)
    return page.ask_visitor(template, next=next, email="", errors={})


async def _enter(
    enter: Enter, template: str, form: Form, sessions: Sessions, page: Pages
) -> Response:
    """Begin a session and go on; or the form again, with the address kept and what is wrong."""
    next = local_path(form.get("next", "/"))
    try:
        user = await enter()
    except (InvalidForm, EmailTaken, InvalidCredentials, TooManyRequests) as error:
        status, errors = _told(error)
        refused = page.ask_visitor(
            template, status=status, next=next, email=form.get("email", ""), errors=errors
        )
        if isinstance(error, TooManyRequests):
            refused.headers.update(headers_of(error))
        return refused
    response = go_to(next)
    sessions.set_cookie(response, sessions.issue(user))
    return response


def _told(
    error: InvalidForm | EmailTaken | InvalidCredentials | TooManyRequests,
) -> tuple[int, dict[str, str]]:
    match error:
        case InvalidForm(errors=errors):
            return 422, errors
        case EmailTaken():
            return int(error.status), {"email": error.title}
        case InvalidCredentials():
            return int(error.status), {"form": error.title}
    return int(error.status), {"form": f"{error.title} Try again {_in(error.retry_after)}."}


def _in(seconds: int) -> str:
    if seconds < 60:
        return f"in {seconds} seconds"
    minutes = -(-seconds // 60)
    return "in a minute" if minutes == 1 else f"in {minutes} minutes"


def _credentials(form: Form) -> dict[str, str]:
    return {"email": form.get("email", "").strip(), "password": form.get("password", "")}
