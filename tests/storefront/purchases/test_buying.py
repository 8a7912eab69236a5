"""Buying over pages, without a script: reserved, paid, declined, cancelled, expired."""

import re
from datetime import timedelta
from itertools import product
from urllib.parse import urlencode

import pytest
from beanie import PydanticObjectId

from tests.api.conftest import list_ticket
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import SITE, Browser
from tests.storefront.purchases.shopping import (
    VISA,
    buy,
    comes_to,
    id_of,
    order_of,
    pay,
    person,
    reserve,
    reserve_ticket,
    set_stripe,
    status_of,
)
from ticketing.models import Charge, Order, Ticket

SHORT = timedelta(seconds=1)
REAL = "4111 1111 1111 1111"
"""No card of anybody; but its number could be one."""

DECLINED = "Your bank declined the card and gave no reason; it may tell you more."
OUT_OF_DATE = "The page was out of date, and this card was not charged."
WITHOUT_FUNDS = "Your bank declined the card: insufficient funds."
UNUSABLE = "The payment method cannot be used; nothing was charged."


async def test_a_ticket_is_bought_without_a_script(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http, title="Radiohead", price=777)
    page = await (await buyer.open("/")).follow("Radiohead")
    page = await page.form("/reserve").send()
    assert (page.heading, status_of(page)) == ("Radiohead", "Waiting for your payment")
    assert page.title == "Radiohead · Holdfast"
    assert re.search(r"Held for you for (14 min 5\d|15 min 0) s", page.text)

    # The card goes to Stripe's sandbox, and only a name for it comes back.
    form = page.form("/_sandbox/cards").fill(number=VISA, expiry="12/40", cvc="123")
    assert form.element["action"] == f"{market.sandbox.url}/_sandbox/cards"
    page = await form.send()
    assert "Confirm your payment" in page.text
    assert page.address.startswith(f"/orders/{id_of(page)}?payment_method=pm_")
    assert not page.has_form("/_sandbox/cards")
    assert market.captured() == []

    page = await page.form("/pay").send()
    assert (page.address, status_of(page)) == (f"/orders/{id_of(page)}", "Paid")
    assert "Your payment went through, and the ticket is yours." in page.text
    assert market.captured() == [777]
    assert "You bought this ticket." in (await buyer.open(f"/tickets/{ticket['id']}")).text
    (row,) = (await buyer.open("/orders")).root.all("li", class_="row")
    assert row.one("a").text == "Radiohead"
    assert row.one("span", class_="status").text == "Paid"
    await market.is_consistent()


async def test_a_card_that_cannot_be_taken_is_told_where_it_is_typed(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await reserve(buyer, seller)
    for changed, words in (
        ({"number": ""}, "Type the number of the card."),
        ({"expiry": ""}, "Type the expiry date of the card."),
        ({"expiry": "soon"}, "Type the expiry date of the card."),
        ({"cvc": ""}, "Type the security code of the card."),
        ({"number": "4242 4242 4242 4241"}, "The number of the card is wrong."),
        ({"expiry": "12/20"}, "The expiry date of the card is wrong."),
        ({"cvc": "1"}, "The security code of the card is wrong."),
        ({"number": REAL}, "Only test cards are taken here; they are listed below."),
    ):
        form = page.form("/_sandbox/cards").fill(number=VISA, expiry="12/40", cvc="123")
        page = await form.fill(**changed).send()
        assert (page.alert, status_of(page)) == (words, "Waiting for your payment")
    page = await page.form("/_sandbox/cards").fill(number=VISA, expiry="12/40", cvc="123").send()
    assert status_of(await page.form("/pay").send()) == "Paid"
    assert len(market.sandbox.payment_intents()) == 1


async def test_the_card_form_has_the_names_that_browsers_fill_in(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await reserve(buyer, seller)
    fields = page.form("/_sandbox/cards").element.all("input")
    assert {e["name"]: (e.get("autocomplete"), e.get("inputmode")) for e in fields} == {
        "return_url": ("", ""),
        "number": ("cc-number", "numeric"),
        "expiry": ("cc-exp", "numeric"),
        "cvc": ("cc-csc", "numeric"),
    }
    assert page.form("/_sandbox/cards").values["return_url"] == f"{SITE}/orders/{id_of(page)}"


# Reserving


async def test_somebody_elses_reservation_is_told_and_the_ticket_shown_as_it_is_now(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    late = await other_buyer.open(f"/tickets/{ticket['id']}")
    await reserve_ticket(buyer, ticket)
    page = await late.form("/reserve").send()
    assert (page.status, page.alert) == (409, "The ticket is reserved for an order.")
    assert page.root.one(id="ticket").one("span", class_="status").text == "Reserved"
    assert not page.has_form("/reserve")
    assert (await other_buyer.open("/orders")).root.all("li", class_="row") == []


async def test_a_sold_ticket_is_told(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    late = await other_buyer.open(f"/tickets/{ticket['id']}")
    await pay(await reserve_ticket(buyer, ticket))
    page = await late.form("/reserve").send()
    assert (page.status, page.alert) == (409, "The ticket is sold.")
    assert "This ticket is gone." in page.text


async def test_ones_own_ticket_cannot_be_reserved(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket, other = await list_ticket(seller.http), await list_ticket(buyer.http)
    form = (await seller.open(f"/tickets/{other['id']}")).form("/reserve")
    page = await seller.send(f"/tickets/{ticket['id']}/reserve", form.values)
    assert (page.status, page.alert) == (403, "A seller cannot buy their own ticket.")
    assert "This is your ticket." in page.text


async def test_who_holds_too_many_is_told_what_to_do(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(max_reservations=1)
    held = await reserve(buyer, seller, title="Held")
    ticket = await list_ticket(seller.http)
    form = (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve")
    page = await form.send()
    assert page.status == 409
    assert page.alert == (
        "You hold as many unpaid tickets as one buyer may; pay for one or cancel one."
    )
    await held.form("/cancel").send()
    assert status_of(await page.form("/reserve").send()) == "Waiting for your payment"


async def test_a_ticket_that_is_gone_is_a_page(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    form = (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve")
    await seller.http.delete(f"/api/tickets/{ticket['id']}")
    page = await form.send()
    assert (page.status, page.heading) == (404, "There is nothing here")


async def test_who_reserves_twice_comes_to_the_one_order(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    shown = await buyer.open(f"/tickets/{ticket['id']}")
    first = await shown.form("/reserve").send()
    second = await shown.form("/reserve").send()
    assert first.address == second.address
    now = await shown.reload()
    assert "You are holding this ticket." in now.text
    assert (await now.follow("Go to your order")).address == first.address
    assert len((await market.written())["orders"]) == 1


# Paying


async def test_a_declined_card_is_told_in_words_and_not_in_codes(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    for payment_method, words, code in (
        ("pm_card_chargeDeclined", DECLINED, "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", WITHOUT_FUNDS, "insufficient_funds"),
        ("pm_card_chargeDeclinedStolenCard", DECLINED, "stolen"),
        ("pm_card_chargeDeclinedLostCard", DECLINED, "lost"),
        ("pm_nobody_has_heard_of", UNUSABLE, "resource_missing"),
    ):
        order = await reserve_ticket(buyer, ticket)
        page = await pay(order, payment_method)
        assert (page.address, status_of(page)) == (order.address, "Cancelled")
        assert words in page.text
        assert "Nothing was charged." in page.text
        assert code not in page.response.text.lower()
        assert not page.has_form("/pay")
    assert (await page.follow("See whether the ticket is still there")).has_form("/reserve")
    assert market.captured() == []


async def test_with_attempts_left_another_card_can_be_tried(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_attempts=2)
    page = await pay(await reserve(buyer, seller), "pm_card_chargeDeclinedExpiredCard")
    assert status_of(page) == "Waiting for your payment"
    assert page.alert == (
        "Your bank declined the card: the card has expired. The ticket is still yours to pay for."
    )
    page = await pay(page)
    assert (status_of(page), page.alert) == ("Paid", "")
    charges = await Charge.find_all().sort("attempt").to_list()
    assert [charge.status for charge in charges] == ["failed", "completed"]
    await market.is_consistent()


async def test_another_card_from_a_page_that_is_out_of_date_is_not_said_to_be_declined(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_attempts=2)
    order = await reserve(buyer, seller)
    await pay(order, "pm_card_chargeDeclinedExpiredCard")
    page = await pay(order, "pm_card_mastercard")  # from another tab, which shows the first try
    assert status_of(page) == "Waiting for your payment"
    assert OUT_OF_DATE in page.alert
    assert len(await Charge.find_all().to_list()) == 1
    assert status_of(await pay(page, "pm_card_mastercard")) == "Paid"


async def test_what_is_no_payment_method_submits_nothing(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    nothing = ["", "   ", "visa", "pm_", "pm_x y", 'pm_"><script>', "pm_" + "x" * 300, "é", "\0"]
    forms = [order.form("/pay").forge(payment_method=method) for method in nothing]
    for form in (*forms, order.form("/pay").without("payment_method")):
        page = await form.send()
        assert page.address == f"{order.address}?card_error=incomplete_number"
        assert status_of(page) == "Waiting for your payment"
        assert page.alert == "Type the number of the card."
    assert await Charge.count() == 0
    assert await market.times_signalled(order_of(order), "payment_submitted") == 0


async def test_a_forged_attempt_is_a_payment_like_any_other(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    attempts = ["2", "1\n\0" + "x" * 5000]
    for attempt in (None, *attempts):
        order = await reserve(buyer, seller)
        form = order.form("/pay").forge(payment_method="pm_card_visa")
        form = form.without("attempt") if attempt is None else form.forge(attempt=attempt)
        assert status_of(await form.send()) == "Paid"
        # And whatever comes after it finds the order paid.
        for again in (form, order.form("/pay").forge(payment_method="pm_card_visa")):
            page = await again.send()
            assert (page.address, status_of(page)) == (order.address, "Paid")
    assert market.captured() == [5000] * (1 + len(attempts))


async def test_a_paid_order_is_paid_no_second_time_and_says_so(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    await pay(order)
    for payment_method in ("pm_card_visa", "pm_card_mastercard"):
        page = await pay(order, payment_method)
        assert (id_of(page), status_of(page), page.alert) == (id_of(order), "Paid", "")
    cancelled = await order.form("/cancel").send()
    assert status_of(cancelled) == "Paid"
    assert cancelled.notice == ""
    assert market.captured() == [5000]


async def test_what_comes_with_the_address_of_an_order_is_text(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    for name, value in product(
        ("payment_method", "card_error", "paying", "seen", "done", "back", "cursor"),
        ('pm_"><script>', "pm_' onx='", "</p><img src=x>", "{{ 7 * 11111 }}"),
    ):
        page = await buyer.open(f"{order.address}?{urlencode({name: value})}")
        assert page.root.all("img") == []
        assert "77777" not in page.text
        if name == "payment_method" and value.startswith("pm_"):
            assert page.form("/pay").values["payment_method"] == value
            assert page.text.count("onx") == page.text.count("script") == 0
        if name == "card_error":
            assert page.alert.startswith("The card could not be taken;")


async def test_a_refused_card_in_the_address_is_told_only_above_a_card_form(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    refused = f"{order.address}?card_error=insufficient_funds"
    assert (await buyer.open(refused)).alert == WITHOUT_FUNDS
    assert (await buyer.open(f"{refused}&payment_method=pm_card_visa")).alert == ""
    await pay(order)
    paid = await buyer.open(refused)
    assert (status_of(paid), paid.alert) == ("Paid", "")
    assert "insufficient" not in paid.response.text


async def test_somebody_elses_payment_method_in_the_address_is_confirmed_first(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    page = await buyer.open(f"{order.address}?payment_method=pm_card_visa")
    assert page.form("/pay").values["payment_method"] == "pm_card_visa"
    assert market.captured() == []
    page = await page.follow("Use another card")
    assert page.has_form("/_sandbox/cards")
    for nonsense in ("visa", "%22%3E%3Cscript%3E", "seti_1"):
        page = await buyer.open(f"{order.address}?payment_method={nonsense}")
        assert page.has_form("/_sandbox/cards")


# Cancelling and expiring


async def test_a_cancelled_order_says_so_and_the_ticket_is_back(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    page = await order.form("/cancel").send()
    assert page.address == f"/orders/{id_of(order)}?done=cancelled"
    assert page.notice == "The order is cancelled."
    assert status_of(page) == "Cancelled"
    assert "You cancelled the order. Nothing was charged." in page.text
    assert (page.has_form("/pay"), page.has_form("/cancel")) == (False, False)
    late = await pay(order)
    assert (late.address, status_of(late)) == (f"/orders/{id_of(order)}", "Cancelled")
    assert status_of(await order.form("/cancel").send()) == "Cancelled"
    assert market.captured() == []
    ticket = await page.follow("See whether the ticket is still there")
    assert ticket.has_form("/reserve")


async def test_an_order_that_is_not_paid_in_time_expires_and_says_so(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    market.set_rules(reservation_ttl=SHORT)
    ticket = await list_ticket(seller.http)
    order = await reserve_ticket(buyer, ticket)
    page = await comes_to(order, "Cancelled")
    assert "The order was not paid in time, and the ticket was released." in page.text
    assert "Nothing was charged." in page.text
    late = await pay(order)
    assert (late.address, status_of(late)) == (f"/orders/{id_of(order)}", "Cancelled")
    assert market.captured() == []

    # Somebody else has it by now; whoever cancels late is not told that it is on sale.
    market.set_rules(reservation_ttl=timedelta(minutes=1))
    await reserve_ticket(other_buyer, ticket)
    late = await order.form("/cancel").send()
    assert (status_of(late), late.notice) == ("Cancelled", "")


async def test_what_the_address_claims_is_said_of_no_order_of_which_it_is_not_true(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    for claimed in ("cancelled", "listed", "refund-requested", "nonsense"):
        assert (await buyer.open(f"{order.address}?done={claimed}")).notice == ""


async def test_once_its_time_is_over_an_order_offers_nothing_even_before_it_is_cancelled(
    idle_market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    idle_market.set_rules(reservation_ttl=timedelta(seconds=5))
    async with idle_market.working():
        order = await reserve(buyer, seller)
    # No worker is there any more that could cancel it.
    page = await comes_to(order, "Time is up")
    assert (page.has_form("/pay"), page.has_form("/cancel")) == (False, False)
    assert not page.has_form("/_sandbox/cards")
    assert page.root.all(id="countdown") == []
    # Without scripts the page looks again by itself.
    assert page.root.one("meta", **{"http-equiv": "refresh"})["content"] == "3"
    async with idle_market.working():
        assert "not paid in time" in (await comes_to(page, "Cancelled")).text


async def test_the_time_left_is_counted_by_our_clock(
    market: Marketplace, seller: Browser, buyer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.set_rules(reservation_ttl=timedelta(minutes=10))
    page = await reserve(buyer, seller)
    found = await Order.get(PydanticObjectId(id_of(page)))
    assert found is not None
    for left, words in (
        (timedelta(minutes=9, seconds=59.5), "9 min 59 s"),
        (timedelta(seconds=30), "0 min 30 s"),
        (timedelta(microseconds=1), "0 min 0 s"),
    ):
        now = found.expires_at - left
        monkeypatch.setattr("api.storefront.buying.utc_now", lambda now=now: now)
        countdown = (await page.reload()).root.one(id="countdown")
        assert countdown.text == words
        assert float(countdown["data-seconds"]) == pytest.approx(left.total_seconds(), abs=1e-5)


async def test_ones_orders_are_ones_own_newest_first_page_by_page(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    market.set_rules(max_reservations=2)
    for number in range(2):
        await reserve(buyer, seller, title=f"Ticket {number}")
    await reserve(other_buyer, seller, title="somebody else's")
    (template,) = await Order.find({"ticket.title": "Ticket 0"}).to_list()
    await Order.insert_many(
        [
            template.model_copy(
                update={
                    "id": PydanticObjectId(),
                    "ticket_id": PydanticObjectId(),
                    "status": "cancelled",
                    "cancel_reason": "expired",
                    "created_at": template.created_at - timedelta(seconds=n + 1),
                    "ticket": template.ticket.model_copy(update={"title": f"Older {n}"}),
                }
            )
            for n in range(20)
        ]
    )
    page = await buyer.open("/orders")
    titles = [row.one("a").text for row in page.root.all("li", class_="row")]
    page = await page.follow("Next page")
    titles += [row.one("a").text for row in page.root.all("li", class_="row")]
    assert titles == ["Ticket 1", "Ticket 0", *(f"Older {n}" for n in range(20))]
    assert not page.has_link("Next page")
    assert (await page.follow("First page")).address == "/orders"
    assert (await buyer.open("/orders?cursor=nonsense")).status == 422


async def test_who_has_bought_nothing_is_told_where_to_begin(
    market: Marketplace, buyer: Browser
) -> None:
    page = await buyer.open("/orders")
    assert page.root.one("p", class_="empty").text == (
        "You have not bought anything yet. See what is on sale."
    )


# How cards are taken


async def test_without_a_key_for_browsers_no_card_is_asked_for(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    set_stripe(market)
    page = await reserve(buyer, seller)
    assert page.root.one(id="order").one("p", class_="alert").text == (
        "Cards cannot be taken at the moment; nothing was charged."
    )
    assert page.root.all("form", id="sandbox-card") == []


async def test_at_stripe_the_card_is_typed_into_a_form_of_theirs(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    set_stripe(market, publishable_key="pk_test_of_ours")
    page = await reserve(buyer, seller, price=777)
    form = page.root.one("form", id="stripe-card")
    assert form["data-publishable-key"] == "pk_test_of_ours"
    assert (form["data-amount"], form["data-currency"]) == ("777", "usd")
    assert form.all("input") == []
    assert "needs JavaScript" in form.one("noscript").text
    scripts = [script["src"] for script in page.root.all("script")]
    assert "https://js.stripe.com/v3/" in scripts
    assert "Cards to try" not in page.text
    page = await pay(page)
    assert status_of(page) == "Paid"
    assert "https://js.stripe.com/v3/" not in [s["src"] for s in page.root.all("script")]


async def test_the_footers_promise_holds(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    page = await buy(buyer, seller)
    ticket = await Ticket.get(order_of(page)["ticketId"])
    assert ticket is not None
    assert str(ticket.order_id) == id_of(page)
    assert (await person(buyer).order(order_of(page)))["status"] == "completed"
    await market.is_consistent()
