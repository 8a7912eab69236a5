"""The storefront over the marketplace of the purchase tests, with its worker and its Stripe."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from api.users import passwords
from tests.api.conftest import sign_up
from tests.purchases.conftest import (
    documentation,
    idle_market,
    market,
    mongodb,
    mongodb_settings,
    temporal_address,
)
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser
from tests.storefront.purchases.shopping import PUBLISHABLE_KEY, set_stripe

__all__ = [
    "documentation",
    "idle_market",
    "market",
    "mongodb",
    "mongodb_settings",
    "temporal_address",
]


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody here signs up first."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)


@pytest.fixture
def app(idle_market: Marketplace) -> FastAPI:
    """The marketplace's API; cards are typed into a form for its sandbox."""
    set_stripe(idle_market, api_base=idle_market.sandbox.url, publishable_key=PUBLISHABLE_KEY)
    return idle_market.app


@pytest.fixture
async def other_buyer(app: FastAPI) -> AsyncIterator[Browser]:
    """One more who is signed in, to buy."""
    async with Browser(app) as browser:
        await sign_up(browser.http)
        yield browser
