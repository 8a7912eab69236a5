"""Sessions: signed tokens, how they are sent, and which origins may use them.

A session is a JWT (HS256). A browser keeps it in an `HttpOnly` cookie; a program sends the same
token as `Authorization: Bearer`. The header takes precedence, because it is sent on purpose: an
invalid one is refused even if there is a valid cookie as well.
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
SESSION_COOKIE = "session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class SignedInUser:
    """The signed-in user, as recorded in the token."""

    id: PydanticObjectId
    email: str
    """Kept in the token, so that no request has to read the user."""
    token_id: str
    expires_at: datetime


class SessionTokens:
    """Signs tokens with the newest key and verifies them with every configured key."""

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
        """The user of a token with a valid signature and expiry.

        Raises:
            NotAuthenticated: the token is forged, expired, or not one of ours.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                # `iat` is not verified: a process whose clock is behind must not refuse a token
                # that another process has just signed.
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


class SessionService:
    """Reads sessions from requests and writes them to responses."""

    def __init__(self, settings: SessionSettings) -> None:
        self._tokens = SessionTokens(settings)
        self._max_age = int(settings.session_ttl.total_seconds())
        self._cookie_secure = settings.cookie_secure

    def issue(self, user: User) -> str:
        """A token for a new session of the user."""
        return self._tokens.issue(user)

    async def require_user(self, request: Request) -> SignedInUser:
        """The user of the request's session.

        Raises:
            NotAuthenticated: there is no session, or it is expired, revoked or forged.
        """
        token = bearer_token(request)
        if token is None:
            token = request.cookies.get(SESSION_COOKIE)
        if token is None:
            raise NotAuthenticated
        session = self._tokens.verify(token)
        revoked = RevokedSession.get_pymongo_collection()
        if await revoked.find_one({"_id": session.token_id}, {"_id": 1}):
            raise NotAuthenticated
        return session

    async def optional_user(self, request: Request) -> SignedInUser | None:
        """The user of the request's session; None if it is missing, expired, revoked or forged."""
        try:
            return await self.require_user(request)
        except NotAuthenticated:
            return None

    async def revoke(self, request: Request) -> None:
        """Revoke every session that the request carries, by header and by cookie."""
        for token in (bearer_token(request), request.cookies.get(SESSION_COOKIE)):
            try:
                session = self._tokens.verify(token or "")
            except NotAuthenticated:
                continue
            await RevokedSession.get_pymongo_collection().replace_one(
                {"_id": session.token_id}, {"expires_at": session.expires_at}, upsert=True
            )

    def set_cookie(self, response: Response, token: str) -> None:
        response.set_cookie(
            SESSION_COOKIE,
            token,
            max_age=self._max_age,
            path="/",
            secure=self._cookie_secure,
            httponly=True,
            samesite="lax",
        )

    def clear_cookie(self, response: Response) -> None:
        response.delete_cookie(
            SESSION_COOKIE, path="/", secure=self._cookie_secure, httponly=True, samesite="lax"
        )

    def refuse_cross_origin_cookie(self, request: Request) -> None:
        """Refuse a state-changing cross-origin request that carries the session cookie (CSRF).

        Programs send no `Origin`, and browsers never attach a bearer token by themselves.

        Raises:
            ForeignOrigin: the request has the cookie and another site's origin.
        """
        if request.method not in SAFE_METHODS and SESSION_COOKIE in request.cookies:
            self.refuse_cross_origin(request)

    def refuse_cross_origin(self, request: Request) -> None:
        """Refuse a cross-origin request, with or without a session.

        Raises:
            ForeignOrigin: the request's origin is another site's.
        """
        origin = request.headers.get("origin")
        if origin is not None and not self._is_same_origin(origin, request):
            raise ForeignOrigin

    def _is_same_origin(self, origin: str, request: Request) -> bool:
        # Behind a proxy that terminates TLS the request looks like plain HTTP, so https is always
        # accepted; http only where session cookies may be sent unencrypted.
        schemes = {"https"} if self._cookie_secure else {"https", request.url.scheme}
        try:
            page = urlsplit(origin)
            asked = urlsplit(f"{page.scheme}://{request.headers.get('host', '')}")
            return page.scheme in schemes and _host_and_port(page) == _host_and_port(asked)
        except ValueError:
            return False


def require_operator(request: Request, settings: OperatorSettings) -> None:
    """Refuse a request without the operator token.

    Raises:
        RouteNotFound: no operator token is set, so the operators' routes do not exist.
        NotOperator: the request has no operator token, or a wrong one.
    """
    token = settings.token.get_secret_value()
    if not token:
        raise RouteNotFound
    if not hmac.compare_digest((bearer_token(request) or "").encode(), token.encode()):
        raise NotOperator


def bearer_token(request: Request) -> str | None:
    """The bearer token of the `Authorization` header, if there is one."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    return token if scheme.lower() == "bearer" else None


def key_id(key: SecretStr) -> str:
    """The `kid` of a key: derived from the key, so that operators need not name their keys."""
    return hashlib.sha256(key.get_secret_value().encode()).hexdigest()[:16]


def _host_and_port(url: SplitResult) -> tuple[str, int | None]:
    if not url.hostname:
        raise ValueError("no host")
    return url.hostname, url.port or DEFAULT_PORTS.get(url.scheme)
