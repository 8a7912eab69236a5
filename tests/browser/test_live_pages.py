"""Open pages follow what happens elsewhere, and a deadline runs by the server's clock."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.browser.cards import VISA
from tests.browser.changes import COUNTDOWN, texts_of
from tests.browser.market import SHORT, Market, Ticket
from tests.browser.person import People, Person, hold_until_all_have_pressed

AT_ONCE = 1_000
"""Milliseconds within which an open page shows what has happened in another browser."""


@pytest.mark.long
async def test_an_order_that_is_not_paid_in_time_is_seen_to_expire(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**SHORT))
    onlooker = await people.somebody("onlooker")
    await onlooker.opens(ticket.path)
    seconds = await texts_of(buyer, COUNTDOWN)
    await buyer.reserves(ticket)
    await onlooker.is_told("Reserved", timeout=AT_ONCE)
    await expect(buyer.announcer).to_have_text(
        re.compile(r"The ticket is held for you for \d seconds more\.")
    )

    await buyer.is_told("Cancelled")
    shown = [text for text in seconds if ":" in text]
    assert shown == sorted(shown, reverse=True)
    assert {"0:02", "0:01"} <= set(shown)
    await expect(buyer.announcer).to_have_text("Cancelled")
    await buyer.sees("The order was not paid in time, and the ticket was released.")
    await expect(buyer.pay_button).to_have_count(0)
    await onlooker.is_told("Available", timeout=AT_ONCE)
    await expect(onlooker.announcer).to_have_text("Available")
    await onlooker.presses("Reserve")
    await onlooker.is_told("Waiting for your payment")


@pytest.mark.long
async def test_a_time_that_is_over_is_told_before_the_order_is_cancelled(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**SHORT))
    await buyer.reserves(ticket)
    with market.frozen_worker():
        await buyer.is_told("Time is up")
        await buyer.sees("ticket is being released")

    await buyer.is_told("Cancelled")


@pytest.mark.parametrize("hours", [-7, 7])
async def test_the_countdown_goes_by_the_clock_of_the_server(
    buyer: Person, ticket: Ticket, hours: int
) -> None:
    await buyer.page.add_init_script(f"""
        const Right = Date;
        globalThis.Date = class extends Right {{
            constructor(...when) {{ when.length ? super(...when) : super(Date.now()); }}
            static now() {{ return Right.now() + {hours} * 3_600_000; }}
        }};
    """)
    await buyer.reserves(ticket)
    assert abs(await buyer.page.evaluate("Date.now() - performance.timeOrigin")) > 6 * 3_600_000

    await expect(buyer.countdown).to_have_text(re.compile(r"14:5\d"))


async def test_an_open_list_and_an_open_ticket_show_a_sale_as_it_happens(
    people: People, buyer: Person, market: Market
) -> None:
    ticket = market.offer("Seat for two onlookers")
    onlooker = await people.somebody("onlooker")
    await onlooker.opens("/?q=onlookers")
    await expect(onlooker.card(ticket)).to_contain_text("Available")
    other_tab = await onlooker.opens_another_tab(ticket.path)
    # Both have their stream by now: nothing but it tells of what comes.
    await buyer.reserves(ticket)

    await other_tab.is_told("Reserved", timeout=AT_ONCE)
    await other_tab.sees("Somebody is buying this ticket.")
    await onlooker.page.bring_to_front()
    await expect(onlooker.card(ticket)).to_contain_text("Reserved", timeout=AT_ONCE)

    await buyer.pays_with(VISA)
    await buyer.is_told("Paid")

    await expect(onlooker.card(ticket)).to_contain_text("Sold", timeout=AT_ONCE)
    await other_tab.is_told("Sold", timeout=AT_ONCE)
    await other_tab.sees("This ticket is gone.")


@pytest.mark.long
async def test_an_open_list_shows_another_price_and_a_withdrawal(
    people: People, seller: Person
) -> None:
    ticket = await seller.has_listed("Seat with a changing price")
    visitor = await people.visitor()
    await visitor.opens("/?q=changing")
    await expect(visitor.card(ticket)).to_contain_text("$25.00")

    await seller.reprices(ticket, "19.50")
    await expect(visitor.card(ticket)).to_contain_text("$19.50", timeout=AT_ONCE)

    await seller.withdraws(ticket)
    await expect(visitor.card(ticket)).to_have_text("This ticket was withdrawn.", timeout=AT_ONCE)


async def test_an_open_ticket_shows_another_price_says_it_and_reserves_at_it(
    people: People, buyer: Person, seller: Person
) -> None:
    ticket = await seller.has_listed("Seat at another price")
    await buyer.opens(ticket.path)
    await expect(buyer.main).to_contain_text("$25.00")

    await seller.reprices(ticket, "19.50")
    await expect(buyer.main.locator(".price")).to_have_text("$19.50", timeout=AT_ONCE)
    await expect(buyer.announcer).to_have_text("Available, $19.50")
    await buyer.presses("Reserve")
    await buyer.is_told("Waiting for your payment")
    await buyer.sees("$19.50")


@pytest.mark.parametrize("scripts", [True, False])
async def test_a_page_that_has_not_heard_of_a_price_reserves_at_none_but_the_one_it_shows(
    people: People, seller: Person, scripts: bool
) -> None:
    people.watch.expect("409 POST")
    ticket = await seller.has_listed("Seat on a stale page")
    buyer = await people.somebody(scripts=scripts)
    await buyer.hears_of_nothing()
    await buyer.opens(ticket.path)
    await seller.reprices(ticket, "999.00")

    await expect(buyer.main.locator(".price")).to_have_text("$25.00")
    await buyer.presses("Reserve")
    await expect(buyer.page.get_by_role("alert")).to_have_text(
        "The price has changed from $25.00 to $999.00."
    )
    await expect(buyer.main.locator(".price")).to_have_text("$999.00")
    await buyer.presses("Reserve")
    await buyer.is_told("Waiting for your payment")
    await buyer.sees("$999.00")


async def test_of_two_who_press_reserve_at_once_one_gets_the_ticket_and_the_other_is_told(
    people: People, ticket: Ticket
) -> None:
    people.watch.expect("409 POST")
    both = [await people.somebody(name) for name in ("first", "second")]
    await hold_until_all_have_pressed("**/reserve", *both)
    for person in both:
        await person.opens(ticket.path)
    await asyncio.gather(*(person.presses("Reserve") for person in both))

    got_it = [person for person in both if "/orders/" in person.page.url]
    assert len(got_it) == 1
    (other,) = [person for person in both if person not in got_it]
    await got_it[0].is_told("Waiting for your payment")
    await expect(other.page.get_by_role("alert")).to_have_text(
        "The ticket is reserved for an order."
    )
    await other.is_told("Reserved")
