"""How often sign-in, sign-up and ordering may be tried, by account and by address."""

import hashlib
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.client_address import client_network
from api.http.rate_limit_storage import MongoDBWindows
from ticketing.errors import TooManyRequests
from ticketing.settings import RateLimitSettings


class By(Enum):
    """Whose requests a limit counts together."""

    ADDRESS = ("address",)
    ACCOUNT = ("account",)
    ACCOUNT_AT_ADDRESS = ("account", "address")


@dataclass(frozen=True)
class Limit:
    """So many in any stretch of time that long."""

    name: str
    """In the answer's `RateLimit` headers."""
    by: By
    rate: RateLimitItem


SIGN_IN = (
    # One person, or an office behind one address; a list of stolen passwords wants far more.
    Limit("sign-in-address", By.ADDRESS, RateLimitItemPerMinute(60)),
    # Less than half of what follows, so that one address cannot lock the account's owner out.
    Limit("sign-in-account-address", By.ACCOUNT_AT_ADDRESS, RateLimitItemPerHour(20)),
    # From wherever: 1,200 guesses a day at one password.
    Limit("sign-in-account", By.ACCOUNT, RateLimitItemPerHour(50)),
)
SIGN_UP = (
    # A sign-up tells whether an address has an account, so this bounds the asking, too.
    Limit("sign-up-address", By.ADDRESS, RateLimitItemPerHour(30)),
    Limit("sign-up-account", By.ACCOUNT, RateLimitItemPerHour(10)),
)
ORDER = (
    # A family, or a club, when a sale opens.
    Limit("order-address", By.ADDRESS, RateLimitItemPerMinute(120)),
    # As fast as a person in a hurry can press a button.
    Limit("order-account", By.ACCOUNT, RateLimitItemPerMinute(30)),
)

HEADERS = "rate_limit_headers"
"""Where the request keeps them until there is an answer."""


class RateLimits:
    """Counts requests, and refuses those that are too many.

    A window moves with each request, so no moment lets more than the limit through. A refused
    request counts nothing towards the limits that come after the one that refused it.
    """

    def __init__(self, settings: RateLimitSettings) -> None:
        self._are_on = settings.rate_limits == "on"
        self._trusted_proxies = settings.trusted_proxies
        self._limiter = MovingWindowRateLimiter(MongoDBWindows())

    async def count(self, limits: tuple[Limit, ...], request: Request, account: str) -> None:
        """Count a request of the account's, whether or not there is such an account.

        Raises:
            TooManyRequests: it is one too many.
        """
        if not self._are_on:
            return
        caller = {
            "account": account,
            "address": client_network(request, self._trusted_proxies),
        }
        states: list[LimitState] = []
        for limit in limits:
            states.append(await self._count(limit, caller))
            setattr(request.state, HEADERS, _headers_of(limits, states))
            if states[-1].is_exceeded:
                raise TooManyRequests(states[-1].seconds)

    async def _count(self, limit: Limit, caller: Mapping[str, str]) -> "LimitState":
        key = _digest(limit.name, *(caller[part] for part in limit.by.value))
        fits = await self._limiter.hit(limit.rate, key)
        window = await self._limiter.get_window_stats(limit.rate, key)
        wait = math.ceil(window.reset_time - time.time())
        return LimitState(
            limit.name,
            is_exceeded=not fits,
            remaining=max(window.remaining, 0) if fits else 0,
            # The database's clock and ours may differ.
            seconds=min(max(wait, 1), limit.rate.get_expiry()),
        )


@dataclass(frozen=True)
class LimitState:
    """How a limit stands after a request."""

    name: str
    is_exceeded: bool
    remaining: int
    seconds: int
    """Until there is room for one more."""


class RateLimitHeadersMiddleware:
    """Tells how the limits stand, whatever the answer (draft-ietf-httpapi-ratelimit-headers)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(scope.get("state", {}).get(HEADERS, {}))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _headers_of(limits: Iterable[Limit], states: Iterable[LimitState]) -> dict[str, str]:
    return {
        "RateLimit-Policy": ", ".join(
            f'"{limit.name}";q={limit.rate.amount};w={limit.rate.get_expiry()}' for limit in limits
        ),
        "RateLimit": ", ".join(
            f'"{state.name}";r={state.remaining};t={state.seconds}' for state in states
        ),
    }


def _digest(*parts: str) -> str:
    """No counter holds an e-mail address or a network address in clear."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
