"""Buying and selling in a browser, from signing up to the receipt."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.cards import (
    ASKS_AT_THE_BANK,
    ASKS_AT_THE_BANK_AND_IS_DECLINED,
    DECLINED,
    MISTYPED,
    VISA,
    WITHOUT_FUNDS,
)
from tests.browser.market import LENIENT, Market, Ticket
from tests.browser.person import People, Person


async def test_a_ticket_is_sold_and_bought(people: People, market: Market) -> None:
    seller, buyer = await people.visitor("seller"), await people.visitor("buyer")
    await seller.opens("/")
    await seller.signs_up()
    ticket = await seller.lists("Nightjar Quartet, row 4", "25")
    await seller.goes_to("My listings")
    await expect(seller.card(ticket)).to_contain_text("$25.00 · Available")

    await buyer.opens("/")
    await buyer.follows(ticket.title)
    await buyer.signs_up_to_reserve()
    await buyer.presses("Reserve")
    await expect(seller.card(ticket)).to_contain_text("Reserved A buyer has it")
    await buyer.pays_with(VISA)

    await buyer.is_told("Paid")
    await expect(seller.card(ticket)).to_contain_text("Sold on")
    await buyer.follows("Receipt")
    for text in (ticket.title, "$25.00 USD", buyer.email):
        await buyer.sees(text)
    await seller.follows(f"See the sale of {ticket.title}")
    await seller.sees("The payment went through and the ticket is sold.")
    assert market.captured(buyer.order_id) == [2500]


async def test_a_declined_card_is_told_and_frees_the_ticket(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(WITHOUT_FUNDS)

    await buyer.is_told("Cancelled")
    await buyer.sees("insufficient funds")
    await buyer.sees("Nothing was charged.")
    await buyer.follows("See whether the ticket is still there")
    await buyer.is_told("Available")
    assert market.captured(order_id) == []


@pytest.mark.long
async def test_where_another_attempt_is_allowed_a_second_card_pays_on_the_same_page(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**LENIENT))
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(DECLINED)
    await buyer.sees("Your bank declined the card and gave no reason")
    await buyer.sees("The ticket is still yours to pay for.")

    await buyer.pays_with(VISA)

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]


async def test_a_mistyped_card_is_told_beside_it_and_is_no_attempt(
    people: People, buyer: Person, ticket: Ticket
) -> None:
    people.watch.expect("402 POST")
    await buyer.reserves(ticket)
    await buyer.pays_with(MISTYPED)
    await expect(buyer.page.locator("#card-error")).to_have_text("Your card number is incorrect.")

    await buyer.pays_with(VISA)

    await buyer.is_told("Paid")


async def test_the_bank_asks_and_an_approval_pays(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(ASKS_AT_THE_BANK)
    await buyer.is_asked_by_the_bank()
    await buyer.presses("Approve")

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_the_bank_asks_and_a_refusal_frees_the_ticket(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(ASKS_AT_THE_BANK)
    await buyer.is_asked_by_the_bank()
    await buyer.presses("Decline")

    await buyer.is_told("Cancelled")
    await buyer.sees("Nothing was charged.")
    await buyer.opens(ticket.path)
    await buyer.is_told("Available")
    assert market.captured(order_id) == []


@pytest.mark.long
async def test_the_bank_may_decline_what_the_buyer_approves(buyer: Person, ticket: Ticket) -> None:
    await buyer.reserves(ticket)
    await buyer.pays_with(ASKS_AT_THE_BANK_AND_IS_DECLINED)
    await buyer.is_asked_by_the_bank()
    await buyer.presses("Approve")

    await buyer.is_told("Cancelled")
    await buyer.sees("Nothing was charged.")


@pytest.mark.long
async def test_whoever_leaves_the_bank_half_way_finds_back_to_it(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(ASKS_AT_THE_BANK)
    await buyer.is_asked_by_the_bank()
    await buyer.reloads()
    await buyer.goes_back()
    await buyer.is_told("Waiting for you at your bank")
    await buyer.reloads()
    await buyer.is_told("Waiting for you at your bank")

    await buyer.follows("Go to your bank")
    await buyer.presses("Approve")

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]


async def test_the_back_button_after_paying_shows_the_truth(buyer: Person, ticket: Ticket) -> None:
    await buyer.reserves(ticket)
    await buyer.pays_with(VISA)
    await buyer.is_told("Paid")
    await buyer.follows("Browse on")

    for _ in range(3):
        await buyer.goes_back()
        shown = buyer.page.locator("#ticket, #order[data-state=completed]")
        await expect(shown).to_contain_text(re.compile("Paid|You bought this ticket"))
        await expect(buyer.pay_button).to_have_count(0)


async def test_another_tab_of_the_order_follows_by_itself(buyer: Person, ticket: Ticket) -> None:
    await buyer.reserves(ticket)
    other_tab = await buyer.opens_another_tab()
    await other_tab.is_told("Waiting for your payment")

    await buyer.pays_with(VISA)

    await buyer.is_told("Paid")
    await other_tab.is_told("Paid")
    await expect(other_tab.pay_button).to_have_count(0)


@pytest.mark.long
async def test_whoever_has_signed_out_in_another_tab_is_asked_to_sign_in(
    buyer: Person, ticket: Ticket
) -> None:
    await buyer.opens(ticket.path)
    other_tab = await buyer.opens_another_tab("/")
    await other_tab.signs_out()

    await buyer.presses("Reserve")

    await buyer.is_at(f"/signin?next={ticket.path}")
    await buyer.signs_in()
    await buyer.presses("Reserve")
    await buyer.is_told("Waiting for your payment")
