"""The tokens of forms: what makes one, how long it is good, and where a form without one leads."""

import pytest
from fastapi import FastAPI
from httpx import Cookies
from pydantic import SecretStr

from api.storefront.form_tokens import CSRF_FIELD
from tests.api.conftest import PASSWORD, list_ticket
from tests.settings import JWT_KEY
from tests.storefront.browser import SITE, Browser
from tests.storefront.conftest import make_account, running
from ticketing.models import Ticket
from ticketing.settings import ApiSettings, SessionSettings

EMAIL = "ada@example.com"
NEW_KEY = "another-key-that-is-long-enough-too"


def with_keys(settings: ApiSettings, *keys: str) -> ApiSettings:
    session = SessionSettings(jwt_keys=tuple(map(SecretStr, keys)), cookie_secure=False)
    return settings.model_copy(update={"session": session})


async def test_a_form_outlives_the_key_that_signed_it_as_long_as_that_is_listed(
    app: FastAPI, api_settings: ApiSettings, visitor: Browser, seller: Browser
) -> None:
    await make_account(app, EMAIL)
    sell = (await seller.open("/sell")).form("/sell").fill(title="Radiohead", price="25")
    enter = (await visitor.open("/signin")).form("/signin").fill(email=EMAIL, password=PASSWORD)

    async with running(with_keys(api_settings, NEW_KEY, JWT_KEY)) as later:
        for form, path in ((sell, "/tickets/"), (enter, "/")):
            async with Browser(later) as browser:
                browser.http.cookies = form.page.browser.http.cookies
                page = await form.send(by=browser)
                assert (page.status, page.address[: len(path)]) == (200, path)
                # The next page has a token of the new key.
                shown = (await browser.open("/sell")).form("/sell").values[CSRF_FIELD]
                assert shown != form.values[CSRF_FIELD]
        assert await Ticket.count() == 1

    async with running(with_keys(api_settings, NEW_KEY)) as much_later:
        async with Browser(much_later) as browser:
            browser.http.cookies = Cookies(seller.http.cookies)
            page = await sell.send(by=browser)
            assert page.address == "/signin?next=/sell"
        async with Browser(much_later) as browser:
            browser.http.cookies.set("visit", "a-visit", domain="localhost.local")
            assert (await enter.send(by=browser)).status == 403


async def test_a_form_for_signing_in_is_taken_only_with_the_cookie_that_came_with_it(
    app: FastAPI, visitor: Browser
) -> None:
    await make_account(app, EMAIL)
    form = (await visitor.open("/signin")).form("/signin").fill(email=EMAIL, password=PASSWORD)
    for cookie in ("", "visit=", "visit=another", "other=x"):
        async with Browser(app) as browser:
            browser.http.headers["Cookie"] = cookie
            page = await form.send(by=browser)
            assert (page.status, page.heading) == (403, "That is not allowed")
            assert "Set-Cookie" not in page.response.headers
    assert (await form.send()).status == 200


@pytest.mark.parametrize(
    "cookie", [r'"\012"', r'"\000"', r'"a\"b; c=d"', "a b", "x" * 4000, "\x7f", '"', "=;="]
)
async def test_a_visit_that_is_none_of_ours_keeps_nobody_from_signing_in(
    app: FastAPI, cookie: str
) -> None:
    await make_account(app, EMAIL)
    async with Browser(app) as browser:
        browser.http.headers["Cookie"] = f"visit={cookie}"
        assert (await browser.open("/signin")).status == 200
        del browser.http.headers["Cookie"]  # from here on the browser has the one that it was sent
        page = await browser.open("/signin")
        page = await page.form("/signin").fill(email=EMAIL, password=PASSWORD).send()
        assert (page.status, page.address) == (200, "/")


async def test_a_form_that_is_out_of_date_leads_back_to_its_page(seller: Browser) -> None:
    page = await seller.open("/sell?x=1")
    form = page.form("/sell").forge(**{CSRF_FIELD: "older"})
    assert (await form.send()).link("Try again") == f"{SITE}/sell?x=1"
    elsewhere = await seller.send("/sell", form.values, came_from="https://evil.example//x/")
    assert elsewhere.status == 403
    assert elsewhere.link("Try again") == f"{SITE}/"


async def test_each_session_has_a_token_of_its_own_and_keeps_it(
    app: FastAPI, seller: Browser, buyer: Browser
) -> None:
    pages = [await browser.open("/sell") for browser in (seller, seller, buyer)]
    first, again, other = (page.form("/sell").values[CSRF_FIELD] for page in pages)
    assert first == again != other
    assert len(first) == 64


async def test_no_page_for_everybody_holds_a_token(visitor: Browser, seller: Browser) -> None:
    listed = await list_ticket(seller.http)
    for path in ("/", f"/tickets/{listed['id']}", f"/tickets/{listed['id']}/card", "/nothing"):
        page = await visitor.open(path)
        assert [e for e in page.root.elements() if e.get("name") == CSRF_FIELD] == []


@pytest.mark.parametrize(
    ("came_from", "next"),
    [
        ("", "/"),
        (f"{SITE}/sell", "/sell"),
        (f"{SITE}/sell?x=1%26y#z", "/sell%3Fx%3D1%2526y"),
        (SITE, "/"),
        ("https://evil.example/listings", "/listings"),
        ("https://evil.example//evil.example/", "/"),
        ("https://evil.example/\\evil.example", "/"),
        ("//evil.example/x", "/x"),
        ("javascript:alert(1)", "/"),
        ("http://[", "/"),
        ("x" * 5000, "/"),
        (f"{SITE}/{'x' * 5000}", "/"),
        (f"{SITE}/\t/evil.example", "/"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_without_a_session_a_form_leads_to_signing_in_and_back_to_a_page_of_ours(
    visitor: Browser, seller: Browser, came_from: str, next: str
) -> None:
    form = (await seller.open("/sell")).form("/sell").fill(title="Radiohead", price="25")
    page = await visitor.send("/sell", form.values, came_from=came_from, follow=False)
    assert page.goes_to == f"/signin?next={next}"
    assert await Ticket.count() == 0
