"""Rate limits of sign-in, sign-up and ordering, per account and per network address."""

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
from api.http.rate_limit_storage import MongoDBRateLimitStorage
from ticketing.errors import TooManyRequests
from ticketing.settings import RateLimitSettings


class LimitedBy(Enum):
    """Which requests a limit counts together."""

    ADDRESS = ("address",)
    ACCOUNT = ("account",)
    ACCOUNT_AT_ADDRESS = ("account", "address")


@dataclass(frozen=True)
class Limit:
    """A maximum number of requests within any period of a given length."""

    name: str
    """In the answer's `RateLimit` headers."""
    by: LimitedBy
    rate: RateLimitItem


SIGN_IN_LIMITS = (
    # Enough for an office behind one address; trying a list of stolen passwords needs far more.
    Limit("sign-in-address", LimitedBy.ADDRESS, RateLimitItemPerMinute(60)),
    # Less than half of the next limit, so that one address cannot lock out the account's owner.
    Limit("sign-in-account-address", LimitedBy.ACCOUNT_AT_ADDRESS, RateLimitItemPerHour(20)),
    # From any address: at most 1,200 guesses a day at one password.
    Limit("sign-in-account", LimitedBy.ACCOUNT, RateLimitItemPerHour(50)),
)
SIGN_UP_LIMITS = (
    # A sign-up reveals whether an e-mail address has an account, so this limits probing as well.
    Limit("sign-up-address", LimitedBy.ADDRESS, RateLimitItemPerHour(30)),
    Limit("sign-up-account", LimitedBy.ACCOUNT, RateLimitItemPerHour(10)),
)
ORDER_LIMITS = (
    # Enough for a family or a club when a sale opens.
    Limit("order-address", LimitedBy.ADDRESS, RateLimitItemPerMinute(120)),
    # As fast as a person can press a button.
    Limit("order-account", LimitedBy.ACCOUNT, RateLimitItemPerMinute(30)),
)

HEADERS_ATTRIBUTE = "rate_limit_headers"
"""The attribute of `request.state` that holds the headers until there is an answer."""


class RateLimiter:
    """Counts requests and refuses those over a limit.

    Windows are moving, so no period of that length has more requests than the limit. A refused
    request does not count towards the limits that come after the one that refused it.
    """

    def __init__(self, settings: RateLimitSettings) -> None:
        self._is_enabled = settings.rate_limits == "on"
        self._trusted_proxies = settings.trusted_proxies
        self._limiter = MovingWindowRateLimiter(MongoDBRateLimitStorage())

    async def count(self, limits: tuple[Limit, ...], request: Request, account: str) -> None:
        """Count a request for the account, whether or not the account exists.

        Raises:
            TooManyRequests: the request exceeds a limit.
        """
        if not self._is_enabled:
            return
        caller = {
            "account": account,
            "address": client_network(request, self._trusted_proxies),
        }
        states: list[LimitState] = []
        for limit in limits:
            states.append(await self._count(limit, caller))
            setattr(request.state, HEADERS_ATTRIBUTE, _rate_limit_headers(limits, states))
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
            # The clocks of the database and of this process may differ.
            seconds=min(max(wait, 1), limit.rate.get_expiry()),
        )


@dataclass(frozen=True)
class LimitState:
    """The state of a limit after a request."""

    name: str
    is_exceeded: bool
    remaining: int
    seconds: int
    """Until one more request is allowed."""


class RateLimitHeadersMiddleware:
    """Adds the limits' state to every answer (draft-ietf-httpapi-ratelimit-headers)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(
                    scope.get("state", {}).get(HEADERS_ATTRIBUTE, {})
                )
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _rate_limit_headers(limits: Iterable[Limit], states: Iterable[LimitState]) -> dict[str, str]:
    return {
        "RateLimit-Policy": ", ".join(
            f'"{limit.name}";q={limit.rate.amount};w={limit.rate.get_expiry()}' for limit in limits
        ),
        "RateLimit": ", ".join(
            f'"{state.name}";r={state.remaining};t={state.seconds}' for state in states
        ),
    }


def _digest(*parts: str) -> str:
    """A hash, so that no counter contains an e-mail address or a network address."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
