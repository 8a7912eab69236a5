"""Accounts and sessions."""

from typing import Annotated, Literal

from email_validator import EmailNotValidError, validate_email
from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import AfterValidator, BaseModel, Field

from api.dependencies import OptionalUser, RateLimits, SameOrigin, Sessions, Settings, Users
from api.http.models import ApiModel, Id, RequestModel
from api.http.problems import problems
from api.http.rate_limits import SIGN_IN_LIMITS, SIGN_UP_LIMITS
from api.users.service import canonical_email
from ticketing.errors import (
    EmailTaken,
    ForeignOrigin,
    InvalidCredentials,
    InvalidInput,
    TooManyRequests,
)

router = APIRouter(prefix="/api/users", tags=["users"])


def _normalize_email(email: str) -> str:
    try:
        # Deliverability is not checked. `.test` is reserved (RFC 6761) and never anybody's
        # mailbox, so it is allowed for trying things out.
        return validate_email(email, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        raise ValueError("is not a valid e-mail address") from None


Email = Annotated[
    str,
    Field(max_length=254, examples=["ada@example.com"], json_schema_extra={"format": "email"}),
    AfterValidator(_normalize_email),
]


class SignUpBody(RequestModel):
    email: Email
    password: str = Field(min_length=8, max_length=128, examples=["correct horse battery"])


class SignInBody(RequestModel):
    email: Email
    # No minimum: a password that is too short is a wrong password, not an invalid request.
    password: str = Field(max_length=128, examples=["correct horse battery"])


class SignOutBody(RequestModel):
    """An empty object."""


class UserView(ApiModel):
    """A user, who can buy and sell."""

    id: Id
    email: str = Field(examples=["ada@example.com"])


class CurrentUserView(ApiModel):
    current_user: UserView | None


class TokenView(BaseModel):
    """A session token for programs, with the member names of OAuth 2."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a kind, not a secret
    expires_in: int = Field(description="Seconds until it expires.", examples=[604800])


async def _sign_up_within_limits(
    request: Request, body: SignUpBody, limits: RateLimits
) -> SignUpBody:
    await limits.count(SIGN_UP_LIMITS, request, canonical_email(body.email))
    return body


async def _sign_in_within_limits(
    request: Request, body: SignInBody, limits: RateLimits
) -> SignInBody:
    await limits.count(SIGN_IN_LIMITS, request, canonical_email(body.email))
    return body


async def _password_grant_within_limits(
    request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()], limits: RateLimits
) -> OAuth2PasswordRequestForm:
    # Counted with the sign-ins, because it is the same password that could be guessed.
    await limits.count(SIGN_IN_LIMITS, request, canonical_email(form.username))
    return form


LimitedSignUp = Annotated[SignUpBody, Depends(_sign_up_within_limits)]
LimitedSignIn = Annotated[SignInBody, Depends(_sign_in_within_limits)]
LimitedPasswordGrant = Annotated[OAuth2PasswordRequestForm, Depends(_password_grant_within_limits)]
"""The form, after the request has passed the rate limits."""


@router.post(
    "/signup",
    status_code=status.HTTP_201_CREATED,
    dependencies=[SameOrigin],
    responses=problems(ForeignOrigin, EmailTaken, InvalidInput, TooManyRequests),
)
async def sign_up(
    body: LimitedSignUp, users: Users, sessions: Sessions, response: Response
) -> UserView:
    """Create an account and sign in.

    E-mail addresses are unique regardless of case. The answer sets the `session` cookie.
    """
    user = await users.sign_up(body.email, body.password)
    sessions.set_cookie(response, sessions.issue(user))
    return UserView.model_validate(user)


@router.post(
    "/signin",
    dependencies=[SameOrigin],
    responses=problems(InvalidCredentials, ForeignOrigin, InvalidInput, TooManyRequests),
)
async def sign_in(
    body: LimitedSignIn, users: Users, sessions: Sessions, response: Response
) -> UserView:
    """Sign in.

    An unknown address and a wrong password get the same answer in the same time.
    The answer sets the `session` cookie.
    """
    user = await users.authenticate(body.email, body.password)
    sessions.set_cookie(response, sessions.issue(user))
    return UserView.model_validate(user)


@router.post("/signout", responses=problems(ForeignOrigin, InvalidInput))
async def sign_out(
    request: Request, sessions: Sessions, response: Response, body: SignOutBody | None = None
) -> SignOutBody:
    """Sign out.

    The session is revoked: every copy of its token is refused from now on.
    Without a session the answer is the same.
    """
    await sessions.revoke(request)
    sessions.clear_cookie(response)
    return SignOutBody()


@router.get("/currentuser")
async def get_current_user(user: OptionalUser) -> CurrentUserView:
    """The signed-in user, or null."""
    return CurrentUserView(current_user=user and UserView(id=user.id, email=user.email))


@router.post(
    "/token",
    responses=problems(InvalidCredentials, ForeignOrigin, InvalidInput, TooManyRequests),
)
async def create_token(
    form: LimitedPasswordGrant,
    users: Users,
    sessions: Sessions,
    settings: Settings,
) -> TokenView:
    """Get a session token for a program (OAuth 2 password grant); `username` is the e-mail address.

    Send the token as `Authorization: Bearer …`.
    """
    user = await users.authenticate(form.username, form.password)
    expires_in = int(settings.session.session_ttl.total_seconds())
    return TokenView(access_token=sessions.issue(user), expires_in=expires_in)
