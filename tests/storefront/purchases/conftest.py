"""The storefront over the marketplace of the purchase tests, with its worker and its Stripe."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.api.conftest import sign_up
from tests.purchases.conftest import (
    idle_market,
    market,
)
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser
from tests.storefront.purchases.shopping import PUBLISHABLE_KEY, set_stripe

__all__ = [
    "idle_market",
    "market",
]


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
