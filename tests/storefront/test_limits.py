"""The limits on guessing and hurrying, as people with forms meet them."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from limits import RateLimitItemPerHour, RateLimitItemPerMinute

from api import dependencies
from api.http.rate_limits import Limit, LimitedBy
from api.storefront import accounts
from tests.api.conftest import PASSWORD, list_ticket, sign_up
from tests.storefront.browser import Browser, Page
from tests.storefront.conftest import running
from ticketing.settings import ApiSettings, RateLimitSettings

EMAIL = "ada@example.com"
A_FEW = 3


@pytest.fixture
async def limited(
    app: FastAPI, api_settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FastAPI]:
    """The app with limits, which are low here."""
    for kind in ("SIGN_IN_LIMITS", "SIGN_UP_LIMITS"):
        per_hour = (Limit(f"{kind} of an account", LimitedBy.ACCOUNT, RateLimitItemPerHour(A_FEW)),)
        monkeypatch.setattr(accounts, kind, per_hour)
    per_minute = (Limit("orders", LimitedBy.ACCOUNT, RateLimitItemPerMinute(A_FEW)),)
    monkeypatch.setattr(dependencies, "ORDER_LIMITS", per_minute)
    settings = api_settings.model_copy(update={"limits": RateLimitSettings(rate_limits="on")})
    async with running(settings) as app:
        yield app


async def guess(browser: Browser, path: str) -> Page:
    page = await browser.open(f"{path}?next=/sell")
    return await page.form(path).fill(email=EMAIL, password="a guess of mine").send()


@pytest.mark.parametrize(("path", "status"), [("/signin", 401), ("/signup", 409)])
async def test_who_tries_too_often_is_told_when_to_try_again(
    limited: FastAPI, path: str, status: int
) -> None:
    async with Browser(limited) as owner, Browser(limited) as browser:
        await sign_up(owner.http, email=EMAIL)
        for _ in range(A_FEW):
            assert (await guess(browser, path)).status == status
        page = await guess(browser, path)

        assert page.status == 429
        assert page.alert == "That was tried too often; wait a little. Try again in 60 minutes."
        assert page.form(path).values["email"] == EMAIL
        assert page.form(path).values["next"] == "/sell"
        assert 3500 < int(page.response.headers["Retry-After"]) <= 3600
        assert 'of an account";r=0' in page.response.headers["RateLimit"]
        # Not even with the right password; but whoever is signed in stays so.
        refused = await page.form(path).fill(password=PASSWORD).send()
        assert refused.status == 429
        assert (await owner.open("/sell")).status == 200


async def test_a_form_that_cannot_be_sent_as_it_is_counts_for_nothing(limited: FastAPI) -> None:
    async with Browser(limited) as browser:
        for _ in range(A_FEW + 1):
            page = await browser.open("/signup")
            page = await page.form("/signup").fill(email=EMAIL, password="short").send()
            assert page.status == 422
        page = await page.form("/signup").fill(password=PASSWORD).send()
        assert (page.status, page.address) == (200, "/")


async def test_who_reserves_too_fast_gets_a_page_that_says_so(limited: FastAPI) -> None:
    async with Browser(limited) as seller, Browser(limited) as buyer:
        await sign_up(seller.http)
        await sign_up(buyer.http)
        ticket = await list_ticket(seller.http)
        form = (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve")
        for _ in range(A_FEW):
            assert (await form.send()).status == 503  # there is no Temporal here
        page = await form.send()
    assert (page.status, page.heading) == (429, "A little slower, please")
    assert 0 < int(page.response.headers["Retry-After"]) <= 60
