"""Payments for which the bank wants the buyer, from our page to the bank's and back."""

import logging
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.conftest import BASE_URL
from tests.purchases.marketplace import WEBHOOKS, Marketplace
from tests.settings import WEBHOOK_SECRET
from tests.storefront.browser import SITE, Browser, Page
from tests.storefront.purchases.shopping import (
    ASKS_THE_BANK,
    AUTHENTICATED,
    comes_to,
    id_of,
    pay,
    reserve,
    set_stripe,
    status_of,
)
from ticketing.models import Charge
from ticketing.observability.logs import MINIMUM_LEVELS

AT_THE_BANK = "Waiting for you at your bank"
CHECKING = "Checking your payment"
LOST = "http://127.0.0.1:1/"
"""Where no webhook arrives."""


async def secret() -> str:
    """The client secret that is out at the moment."""
    (charge,) = await Charge.find({"client_secret": {"$ne": None}}).to_list()
    assert charge.client_secret is not None
    return charge.client_secret


async def decide(bank: Page, decision: str) -> Page:
    """Press a button on the bank's page; where that leads."""
    assert bank.has_form("")
    return await bank.browser.send(bank.url, {"decision": decision}, came_from=bank.url)


async def test_the_buyer_is_sent_to_the_bank_and_comes_back_to_an_order_that_is_paid(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, level in MINIMUM_LEVELS.items():
        caplog.set_level(level, logger=name)
    caplog.set_level(logging.WARNING, logger="httpx")  # of this very browser

    order = await reserve(buyer, seller)
    form = order.form("/_sandbox/cards").fill(number=ASKS_THE_BANK, expiry="12/40", cvc="123")
    bank = await (await form.send()).form("/pay").send()
    there = urlsplit(bank.url)
    assert f"{there.scheme}://{there.netloc}" == market.sandbox.url
    told = parse_qs(there.query)
    assert told == {
        "client_secret": [await secret()],
        "return_url": [f"{SITE}/orders/{id_of(order)}/back"],
    }
    hidden = await secret()

    page = await decide(bank, "approve")
    # The bank's address of return carries what ours does not: it is left at once.
    carries, strips, *_ = [str(seen.url) for seen in page.way[1:]]
    assert hidden in carries
    assert strips == f"{SITE}/orders/{id_of(order)}?back=true"
    page = await comes_to(page, "Paid")
    assert market.captured() == [5000]
    for seen in page.way:
        assert hidden not in seen.text
    assert hidden not in caplog.text
    assert "_secret_" not in caplog.text
    await market.is_consistent()


async def test_whoever_has_left_the_bank_finds_the_way_back_on_the_orders_page(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    bank = await pay(order, AUTHENTICATED)
    page = await order.reload()
    assert status_of(page) == AT_THE_BANK
    assert page.link("Go to your bank") == bank.url
    assert not page.has_form("/pay")
    bank = await page.follow("Go to your bank")
    page = await comes_to(await decide(bank, "approve"), "Paid")
    assert "The ticket is yours" in page.text or "the ticket is yours" in page.text


async def test_until_the_banks_news_is_here_the_page_checks_and_offers_the_way_back(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.sandbox.deliver_webhooks_to(LOST, "whsec_lost")
    bank = await pay(await reserve(buyer, seller), AUTHENTICATED)
    page = await decide(bank, "approve")
    assert status_of(page) == CHECKING
    assert not page.has_form("/pay")
    again = await page.follow("Go on there.")
    assert status_of(again) == AT_THE_BANK
    market.sandbox.deliver_webhooks_to(BASE_URL + WEBHOOKS, WEBHOOK_SECRET)
    await comes_to(page, "Paid")
    assert market.captured() == [5000]


async def test_whom_the_bank_does_not_believe_is_told_so(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    bank = await pay(await reserve(buyer, seller), AUTHENTICATED)
    page = await comes_to(await decide(bank, "decline"), "Cancelled")
    assert "Your bank did not confirm that it was you who paid." in page.text
    assert "Nothing was charged." in page.text
    assert market.captured() == []


async def test_who_comes_back_without_a_decision_is_not_told_that_it_failed(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    await pay(order, AUTHENTICATED)
    back = f"{order.address}/back?payment_intent=pi_1&payment_intent_client_secret=pi_1_secret_2"
    page = await buyer.open(back)
    assert page.address == f"{order.address}?back=true"
    assert status_of(page) == CHECKING
    assert "Did you leave your bank's page before you were done?" in page.text
    assert status_of(await page.follow("Go on there.")) == AT_THE_BANK


async def test_who_pays_again_meanwhile_is_sent_to_the_same_bank(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    first = await pay(order, AUTHENTICATED, follow=False)
    again = await pay(order, AUTHENTICATED, follow=False)
    assert first.goes_to == again.goes_to
    other = await pay(order, "pm_card_visa")
    assert status_of(other) == AT_THE_BANK
    assert len(market.sandbox.payment_intents()) == 1


async def test_a_buyer_at_the_bank_may_cancel_and_nothing_can_be_paid_any_more(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    bank = await pay(order, AUTHENTICATED)
    page = await (await order.reload()).form("/cancel").send()
    assert status_of(page) == "Cancelled"
    late = await decide(bank, "approve")
    assert "canceled" in late.root.text.lower() or "cancelled" in late.root.text.lower()
    assert status_of(await page.reload()) == "Cancelled"
    assert market.captured() == []


async def test_nobody_else_is_shown_where_the_bank_waits(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser, visitor: Browser
) -> None:
    order = await reserve(buyer, seller)
    await pay(order, AUTHENTICATED)
    hidden = await secret()
    for browser in (seller, other_buyer, visitor):
        for path in (order.address, f"{order.address}?back=true", f"{order.address}/receipt"):
            page = await browser.open(path)
            assert hidden not in page.response.text
    for path in ("/orders", "/", f"/tickets/{order.root.one(id='order')['data-ticket']}"):
        assert hidden not in (await buyer.open(path)).response.text


@pytest.mark.parametrize("id", ["x", "..%2f..", "%0d%0aSet-Cookie:a=b", "//evil.example"])
async def test_the_way_back_leads_to_orders_only(
    market: Marketplace, visitor: Browser, id: str
) -> None:
    page = await visitor.open(f"/orders/{id}/back", follow=False)
    assert page.status == 404


async def test_at_stripe_the_bank_is_shown_within_the_page(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    set_stripe(market, publishable_key="pk_test_of_ours")
    order = await reserve(buyer, seller)
    page = await pay(order, AUTHENTICATED)
    assert page.address.startswith(f"{order.address}?paying=")
    assert status_of(page) == AT_THE_BANK
    place = page.root.one(id="authenticate")
    assert place["data-client-secret"] == await secret()
    assert place["data-back"] == f"{order.address}?back=true"
    assert place["data-publishable-key"] == "pk_test_of_ours"
    assert "needs JavaScript" in place.one("noscript").text or "JavaScript" in place.text
    market.sandbox.authenticate(market.sandbox.payment_intents()[0]["id"])
    await comes_to(await buyer.open(place["data-back"]), "Paid")
