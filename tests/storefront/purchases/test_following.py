"""An order's page that looks again: nothing new, or the page as it is now."""

import json
from datetime import timedelta
from urllib.parse import urlencode

from httpx import Response

from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser, Page
from tests.storefront.html import parse
from tests.storefront.purchases.shopping import (
    AUTHENTICATED,
    buy,
    comes_to,
    id_of,
    pay,
    person,
    reserve,
    state_of,
)
from tests.waiting import eventually

HURRIED = timedelta(milliseconds=100)
AUTHORIZE = "/v1/payment_intents"


async def look_again(page: Page) -> Response:
    """What the open page does by itself: ask with what it was told to ask with."""
    order = page.root.one(id="order")
    asked = urlencode(json.loads(order["hx-vals"]))
    return await page.browser.ask_for_part(f"{order['hx-get']}?{asked}")


def assert_nothing_new(answer: Response) -> float:
    """The page stays as it is, and its clock is set; the seconds left."""
    assert answer.status_code == 204
    assert answer.content == b""
    told = json.loads(answer.headers["HX-Trigger"])
    assert told.keys() == {"clock"}
    seconds: float = told["clock"]["seconds"]
    return seconds


def assert_new(answer: Response, state: str) -> None:
    assert answer.status_code == 200
    assert "HX-Trigger" not in answer.headers
    assert parse(answer.text).one(id="order")["data-state"] == state


async def test_a_page_that_is_up_to_date_gets_only_the_time(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(reservation_ttl=timedelta(minutes=10))
    page = await reserve(buyer, seller)
    left = assert_nothing_new(await look_again(page))
    assert 500 < left < 600
    assert assert_nothing_new(await look_again(page)) < left


async def test_a_page_hears_of_each_change_once(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_attempts=3)
    page = await reserve(buyer, seller)
    other_tab = await page.reload()

    await pay(other_tab, "pm_card_chargeDeclined")
    assert_new(await look_again(page), "payable")  # with a reason, and for the next attempt
    page = await page.reload()
    assert_nothing_new(await look_again(page))

    await pay(page, AUTHENTICATED, follow=False)
    assert_new(await look_again(page), "at-the-bank")
    page = await page.reload()
    assert_nothing_new(await look_again(page))

    await page.form("/cancel").send()
    assert_new(await look_again(page), "cancelled")
    assert_nothing_new(await look_again(await page.reload()))


async def test_a_page_that_checks_a_payment_goes_on_to_what_became_of_it(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path=AUTHORIZE, times=None)
    page = await pay(await reserve(buyer, seller))
    assert state_of(page) == "checking"
    assert "every 1s" in page.root.one(id="order")["hx-trigger"]
    market.sandbox.clear_faults()

    async def has_news() -> Response | None:
        answer = await look_again(page)
        return (
            answer
            if answer.status_code == 200 and 'data-state="completed"' in answer.text
            else None
        )

    assert await eventually(has_news)


async def test_a_page_to_which_the_buyer_came_back_keeps_asking_as_such(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.sandbox.deliver_webhooks_to("http://127.0.0.1:1/", "whsec_lost")
    order = await reserve(buyer, seller)
    await pay(order, AUTHENTICATED, follow=False)
    page = await buyer.open(f"{order.address}/back")
    assert state_of(page) == "checking"
    assert_nothing_new(await look_again(page))


async def test_a_page_of_a_paid_order_hears_that_a_refund_was_requested_and_made(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await buy(buyer, seller)
    assert_nothing_new(await look_again(page))
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path="/v1/refunds", times=None)
    await person(seller).refund({"id": id_of(page)})

    async def is_told() -> bool:
        return "A refund of your payment was requested." in (await page.reload()).text

    await eventually(is_told)
    assert_new(await look_again(page), "completed")
    market.sandbox.clear_faults()
    await comes_to(page, "Refunded")
    assert_new(await look_again(page), "refunded")


async def test_whatever_is_claimed_to_be_seen_gets_the_page_unless_it_is_the_newest(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await reserve(buyer, seller)
    for seen in ("", "x", "payable", "completed-1", "payable-9", "%22%3E%3Cb%3E"):
        answer = await buyer.ask_for_part(f"{page.address}?seen={seen}")
        assert_new(answer, "payable")
    for query in (f"seen={'x' * 101}", f"paying={'x' * 25}", "back=perhaps"):
        assert (await buyer.open(f"{page.address}?{query}")).status == 422


async def test_a_page_says_which_tickets_changes_concern_it_and_from_where_on(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await reserve(buyer, seller)
    order = page.root.one(id="order")
    assert order["data-position"]
    assert "ticket-changed" in order["hx-trigger"]
    (ticket,) = (await market.written())["tickets"]
    assert order["data-ticket"] == str(ticket["_id"])


async def test_whose_session_is_over_is_asked_to_sign_in_again(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await reserve(buyer, seller)
    buyer.http.cookies.clear()
    answer = await look_again(page)
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (401, "true")
    assert (await page.reload()).address == f"/signin?next={page.address}"
