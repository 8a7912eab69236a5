"""The page for real Stripe, with its Payment Element.

The API is a process with the settings of real Stripe, and a small stand-in takes the place of
Stripe.js in the browser; behind the worker is the sandbox, as in every other test. This proves
what our page asks of Stripe.js, what it does with the answers, and that its policy lets Stripe's
hosts in. It cannot prove that Stripe.js still works that way: for that, open the page with a
test key of Stripe's.
"""

import re
from typing import Any

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.market import REAL_STRIPE, Market, Ticket
from tests.browser.person import People, Person
from tests.browser.stripe_js import FakeStripe


@pytest.fixture
def stripe() -> FakeStripe:
    return FakeStripe()


@pytest.fixture
async def buyer(people: People, market: Market, stripe: FakeStripe) -> Person:
    buyer = await people.somebody(at=market.shop(**REAL_STRIPE))
    await stripe.stand_in_on(buyer.page)
    return buyer


@pytest.mark.long
async def test_the_element_is_made_for_the_order_and_what_it_makes_pays(
    buyer: Person, ticket: Ticket, stripe: FakeStripe, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pay_button.click()

    await buyer.is_told("Paid")
    assert [name for name, *_ in stripe.calls] == [
        "Stripe",
        "elements",
        "create",
        "mount",
        "load",
        "submit",
        "createPaymentMethod",
    ]
    assert stripe.calls_of("Stripe") == [(REAL_STRIPE["STRIPE_PUBLISHABLE_KEY"],)]
    ((options,),) = stripe.calls_of("elements")
    assert options.pop("appearance") == {"theme": "stripe"}
    assert options == {
        "mode": "payment",
        "amount": 2500,
        "currency": "usd",
        "captureMethod": "manual",
        "paymentMethodCreation": "manual",
        "paymentMethodTypes": ["card"],
    }
    assert stripe.calls_of("create") == [("payment",)]
    assert market.captured(order_id) == [2500]


@pytest.mark.long
@pytest.mark.parametrize("step", ["submit", "createPaymentMethod"])
async def test_what_stripe_finds_wrong_is_told_and_can_be_corrected(
    buyer: Person, ticket: Ticket, stripe: FakeStripe, step: str
) -> None:
    works = stripe.answers[step]
    stripe.answers[step] = lambda: {"error": {"message": "Your card number is incomplete."}}
    await buyer.reserves(ticket)
    await buyer.pay_button.click()
    await expect(buyer.page.locator("#card-error")).to_have_text("Your card number is incomplete.")
    stripe.answers[step] = works

    await buyer.pay_button.click()

    await buyer.is_told("Paid")


@pytest.mark.long
@pytest.mark.parametrize("missing", ["script", "element"])
async def test_a_stripe_that_cannot_be_reached_is_told(
    people: People, buyer: Person, ticket: Ticket, stripe: FakeStripe, missing: str
) -> None:
    if missing == "script":
        people.watch.expect("ERR_FAILED")
        await buyer.page.route("https://js.stripe.com/v3/", lambda route: route.abort())
    else:
        stripe.answers["load"] = lambda: "loaderror"
    await buyer.reserves(ticket)

    await expect(buyer.page.locator("#card-error")).to_have_text(
        "Stripe cannot be reached at the moment. Nothing was charged; "
        "reload this page to try again."
    )
    await expect(buyer.pay_button).to_be_disabled()


@pytest.mark.long
async def test_the_bank_is_shown_by_stripe_within_the_page(
    buyer: Person, ticket: Ticket, stripe: FakeStripe, market: Market
) -> None:
    def leave(client_secret: str) -> Any:
        return {"error": {"message": "We could not reach your bank."}}

    def approve(client_secret: str) -> Any:
        bank = f"{market.sandbox}/authenticate"
        answer = httpx.post(
            bank, params={"client_secret": client_secret}, data={"decision": "approve"}
        )
        return {"paymentIntent": {"status": "requires_capture"}} if answer.is_success else None

    stripe.answers["createPaymentMethod"] = lambda: {
        "paymentMethod": {"id": "pm_card_authenticationRequired"}
    }
    stripe.answers["handleNextAction"] = leave
    order_id = await buyer.reserves(ticket)
    await buyer.pay_button.click()
    await buyer.is_told("Waiting for you at your bank")
    await buyer.presses("Confirm with your bank")
    await buyer.sees("We could not reach your bank.")
    stripe.answers["handleNextAction"] = approve

    await buyer.presses("Confirm with your bank")

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_without_scripts_the_page_says_what_is_missing(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**REAL_STRIPE), scripts=False)
    await buyer.reserves(ticket)
    assert "needs JavaScript" in await buyer.page.locator("noscript").inner_text()
    await expect(buyer.pay_button).to_be_disabled()


@pytest.mark.long
async def test_only_the_page_with_the_card_lets_stripe_in_and_nobody_else(
    buyer: Person, ticket: Ticket
) -> None:
    order_id = await buyer.has_reserved(ticket)
    hosts = {}
    for path in (ticket.path, f"/orders/{order_id}"):
        answer = await buyer.page.goto(path)
        assert answer
        policy = answer.headers["content-security-policy"]
        hosts[path] = set(re.findall(r"https?://[^ ;]+|(?<= )\*|unsafe-\w+", policy))
    assert hosts == {
        ticket.path: set(),
        f"/orders/{order_id}": {
            "https://js.stripe.com",
            "https://*.js.stripe.com",
            "https://hooks.stripe.com",
            "https://api.stripe.com",
            "https://*.stripe.com",
        },
    }
