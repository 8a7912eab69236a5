"""An open page comes to the truth although answers are late, lost, or overtaken by what happens."""

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.browser.market import LENIENT, Market, Ticket
from tests.browser.person import People, Person

CARDS = "**/card"

HEAR_OF_PRICE = """([id, price]) => new Promise((heard) => {
    const stream = new EventSource(`/api/tickets/events?ticket=${id}`);
    stream.addEventListener("ticket", (event) => {
        if (JSON.parse(event.data).price === price) { stream.close(); heard(); }
    });
})"""
"""Listens beside the page, which began to listen before."""


@pytest.mark.long
async def test_a_change_while_a_part_is_being_asked_for_is_asked_about_as_well(
    people: People, seller: Person
) -> None:
    ticket = await seller.has_listed("Seat with two prices")
    visitor = await people.visitor()
    await visitor.opens("/?q=two+prices")
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer_late(route: Route) -> None:
        answer = await route.fetch()
        asked.set()
        await may_answer.wait()
        await route.fulfill(response=answer)

    await visitor.page.route(CARDS, answer_late, times=1)
    await seller.reprices(ticket, "30")
    await asked.wait()
    # Heard of while the answer to the first question, made before, is still on its way.
    heard = asyncio.create_task(visitor.page.evaluate(HEAR_OF_PRICE, [ticket.id, 4000]))
    await seller.reprices(ticket, "40")
    await heard
    may_answer.set()

    await expect(visitor.card(ticket)).to_contain_text("$40.00")


@pytest.mark.long
async def test_a_part_whose_answer_is_lost_is_asked_for_again(
    people: People, seller: Person
) -> None:
    people.watch.expect("net::ERR_FAILED")
    people.watch.expect("htmx:sendError")
    people.watch.expect("htmx:afterRequest")
    ticket = await seller.has_listed("Seat behind a bad line")
    visitor = await people.visitor()
    await visitor.opens("/?q=bad+line")
    await expect(visitor.card(ticket)).to_contain_text("$25.00")

    async def lose(route: Route) -> None:
        await route.abort()

    await visitor.page.route(CARDS, lose, times=1)
    await seller.reprices(ticket, "30")

    await expect(visitor.card(ticket)).to_contain_text("$30.00")


@pytest.mark.long
async def test_an_open_ticket_says_that_it_was_withdrawn(people: People, seller: Person) -> None:
    ticket = await seller.has_listed("Seat that goes away")
    visitor = await people.visitor()
    await visitor.opens(ticket.path)
    await visitor.is_told("Available")

    await seller.withdraws(ticket)

    await visitor.sees("This ticket was withdrawn")
    await expect(visitor.announcer).to_have_text("Withdrawn")


@pytest.mark.long
async def test_a_payment_that_waits_for_a_worker_is_known_in_every_window(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**LENIENT))
    order_id = await buyer.reserves(ticket)
    other_tab = await buyer.opens_another_tab(f"/orders/{order_id}")
    await other_tab.is_told("Waiting for your payment")
    with market.frozen_worker():
        await buyer.pays_with()
        await buyer.is_told("Checking your payment")
        await other_tab.is_told("Checking your payment")

    await other_tab.is_told("Paid")
