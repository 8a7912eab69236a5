"""Sessions: signed tokens, where they travel, and the origins that may use them.

A session is a JWT (HS256). A browser keeps it in an `HttpOnly` cookie; a program sends the same
token as `Authorization: Bearer`. Where both are sent the header counts, because somebody chose
to send it, and an invalid one is refused even though the cookie is valid.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import jwt
from beanie import PydanticObjectId
from bson.errors import InvalidId
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from ticketing.clock import utc_now
from ticketing.errors import ForeignOrigin, NotAuthenticated, NotOperator, RouteNotFound
from ticketing.models import RevokedSession, User
from ticketing.settings import OperatorSettings, SessionSettings

ALGORITHM = "HS256"
ISSUER = "holdfast"
CLAIMS = ["iss", "sub", "email", "jti", "iat", "exp"]
COOKIE = "session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class SignedInUser:
    """Somebody who is signed in, as their token says it."""

    id: PydanticObjectId
    email: str
    """In the token, so that no request has to look its user up."""
    token_id: str
    expires_at: datetime


class SessionTokens:
    """Signs sessions with the newest key and verifies them with every key still listed."""

    def __init__(self, settings: SessionSettings) -> None:
        self._ttl = settings.session_ttl
        self._keys = {key_id(key): key.get_secret_value() for key in settings.jwt_keys}
        self._signing_key_id = next(iter(self._keys))

    def issue(self, user: User) -> str:
        """A token for a new session of the user."""
        assert user.id is not None  # stored  # noqa: S101
        now = utc_now()
        session = SignedInUser(user.id, user.email, uuid4().hex, expires_at=now + self._ttl)
        return jwt.encode(
            {
                "iss": ISSUER,
                "sub": str(session.id),
                "email": session.email,
                "jti": session.token_id,
                "iat": now,
                "exp": session.expires_at,
            },
            self._keys[self._signing_key_id],
            algorithm=ALGORITHM,
            headers={"kid": self._signing_key_id},
        )

    def verify(self, token: str) -> SignedInUser:
        """What a token says, once its signature and its times hold.

        Raises:
            NotAuthenticated: it is forged, expired, or not a token of ours.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                # `iat` is a record, not a condition: a clock that is behind must not refuse
                # what another process has just signed.
                options={"require": CLAIMS, "verify_iat": False},
            )
            return SignedInUser(
                id=PydanticObjectId(claims["sub"]),
                email=str(claims["email"]),
                token_id=claims["jti"],
                expires_at=datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, InvalidId):
            raise NotAuthenticated from None


class Sessions:
    """The sessions that requests carry and responses hand out."""

    def __init__(self, settings: SessionSettings) -> None:
        self._tokens = SessionTokens(settings)
        self._max_age = int(settings.session_ttl.total_seconds())
        self._cookie_secure = settings.cookie_secure

    def issue(self, user: User) -> str:
        """A token for a new session of the user."""
        return self._tokens.issue(user)

    async def required(self, request: Request) -> SignedInUser:
        """The session of the request.

        Raises:
            NotAuthenticated: there is none, or it is expired, revoked or forged.
        """
        token = bearer_token(request)
        if token is None:
            token = request.cookies.get(COOKIE)
        if token is None:
            raise NotAuthenticated
        session = self._tokens.verify(token)
        revoked = RevokedSession.get_pymongo_collection()
        if await revoked.find_one({"_id": session.token_id}, {"_id": 1}):
            raise NotAuthenticated
        return session

    async def optional(self, request: Request) -> SignedInUser | None:
        """The session of the request, or none; a stale cookie keeps nobody from looking."""
        try:
            return await self.required(request)
        except NotAuthenticated:
            return None

    async def revoke(self, request: Request) -> None:
        """End every session that the request carries; from now on its tokens are refused."""
        for token in (bearer_token(request), request.cookies.get(COOKIE)):
            try:
                session = self._tokens.verify(token or "")
            except NotAuthenticated:
                continue
            await RevokedSession.get_pymongo_collection().replace_one(
                {"_id": session.token_id}, {"expires_at": session.expires_at}, upsert=True
            )

    def set_cookie(self, response: Response, token: str) -> None:
        response.set_cookie(
            COOKIE,
            token,
            max_age=self._max_age,
            path="/",
            secure=self._cookie_secure,
            httponly=True,
            samesite="lax",
        )

    def clear_cookie(self, response: Response) -> None:
        response.delete_cookie(
            COOKIE, path="/", secure=self._cookie_secure, httponly=True, samesite="lax"
        )

    def refuse_foreign_cookie(self, request: Request) -> None:
        """Refuse to let a page of another site act with the browser's session.

        Raises:
            ForeignOrigin: the request changes state, carries the cookie, and names an origin
                that is not ours. Programs send no origin; a bearer token is not sent by itself.
        """
        if request.method not in SAFE_METHODS and COOKIE in request.cookies:
            self.refuse_foreign_origin(request)

    def refuse_foreign_origin(self, request: Request) -> None:
        """Refuse a page of another site, whether or not there is a session.

        Raises:
            ForeignOrigin: the request names an origin that is not ours.
        """
        origin = request.headers.get("origin")
        if origin is not None and not self._is_own(origin, request):
            raise ForeignOrigin

    def _is_own(self, origin: str, request: Request) -> bool:
        # Behind a proxy that ends TLS the request looks like plain HTTP, so https is always
        # ours; http is ours only where sessions may travel unencrypted.
        schemes = {"https"} if self._cookie_secure else {"https", request.url.scheme}
        try:
            page = urlsplit(origin)
            asked = urlsplit(f"{page.scheme}://{request.headers.get('host', '')}")
            return page.scheme in schemes and _host_and_port(page) == _host_and_port(asked)
        except ValueError:
            return False


def require_operator(request: Request, settings: OperatorSettings) -> None:
    """Let nobody pass but a bearer of the operator token.

    Raises:
        RouteNotFound: there is no such token, so there are no such routes.
        NotOperator: the request carries none, or another one.
    """
    token = settings.token.get_secret_value()
    if not token:
        raise RouteNotFound
    if not hmac.compare_digest((bearer_token(request) or "").encode(), token.encode()):
        raise NotOperator


def bearer_token(request: Request) -> str | None:
    """The token of the `Authorization` header, if it is a bearer token."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    return token if scheme.lower() == "bearer" else None


def key_id(key: SecretStr) -> str:
    """The name of a key in a token's header, so that operators list nothing but keys."""
    return hashlib.sha256(key.get_secret_value().encode()).hexdigest()[:16]


def _host_and_port(url: SplitResult) -> tuple[str, int | None]:
    if not url.hostname:
        raise ValueError("no host")
    return url.hostname, url.port or DEFAULT_PORTS.get(url.scheme)
