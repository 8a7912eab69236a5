"""Everything works in a browser that runs no scripts; only following has to be done by hand."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.cards import (
    ASKS_AT_THE_BANK,
    DECLINED,
    MISTYPED,
    VISA,
)
from tests.browser.market import LENIENT, Market, Ticket
from tests.browser.person import People, Person

pytestmark = pytest.mark.long


@pytest.fixture
async def buyer(people: People) -> Person:
    return await people.somebody(scripts=False)


async def confirms(buyer: Person) -> None:
    """Back from where the card went, press the button that pays with it."""
    await buyer.sees("Confirm your payment")
    await buyer.pay_button.click()


@pytest.mark.long
async def test_a_ticket_is_sold_and_bought(people: People, market: Market) -> None:
    seller = await people.visitor("seller", scripts=False)
    await seller.opens("/")
    await seller.signs_up()
    ticket = await seller.lists("Nightjar Quartet, row 5", "25")

    buyer = await people.visitor("buyer", scripts=False)
    await buyer.opens("/?q=nightjar")
    await buyer.follows(ticket.title)
    await buyer.signs_up_to_reserve()
    await buyer.presses("Reserve")
    await buyer.is_told("Waiting for your payment")
    order_id = buyer.order_id
    await expect(buyer.countdown).to_have_text(re.compile(r"14 min 5\d s"))
    await buyer.pays_with(VISA)
    await confirms(buyer)

    await buyer.is_told("Paid")
    await buyer.follows("Receipt")
    await buyer.sees("$25.00 USD")
    await buyer.goes_to("My orders")
    await expect(buyer.main.get_by_role("listitem")).to_contain_text("Paid")
    await seller.goes_to("My listings")
    await expect(seller.card(ticket)).to_contain_text("Sold on")
    await buyer.signs_out()
    assert market.captured(order_id) == [2500]
    assert people.watch.card_numbers_sent == [f"{market.sandbox}/_sandbox/cards"]


@pytest.mark.long
async def test_the_market_is_searched_filtered_sorted_and_paged(
    people: People, market: Market
) -> None:
    for number in range(1, 27):
        market.offer(f"Lanternfest, tier {number:02}", price=number * 100)
    visitor = await people.visitor(scripts=False)
    prices = visitor.page.locator(".card .price")
    await visitor.opens("/")
    await visitor.fills_in(q="lanternfest")
    await visitor.page.get_by_label("Sort").select_option("Lowest price first")
    await visitor.presses("Search")
    await expect(prices).to_have_count(24)
    await expect(prices.first).to_have_text("$1.00")

    await visitor.follows("Next page")
    await expect(prices).to_have_text(["$25.00", "$26.00"])
    await visitor.follows("First page")
    await expect(prices).to_have_count(24)

    await visitor.fills_in(min="24", max="25.50")
    await visitor.page.get_by_label("Sort").select_option("Highest price first")
    await visitor.presses("Search")
    await expect(prices).to_have_text(["$25.00", "$24.00"])
    await visitor.page.get_by_label("Show").select_option("Sold")
    await visitor.presses("Search")
    await visitor.sees("No ticket is like that.")

    people.watch.expect("422 GET")
    await visitor.fills_in(max="cheap")
    await visitor.presses("Search")
    await expect(visitor.page.get_by_label("Price to")).to_have_accessible_description(
        re.compile(".+")
    )


@pytest.mark.long
async def test_the_bank_asks_and_an_approval_pays(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(ASKS_AT_THE_BANK)
    await confirms(buyer)
    await buyer.is_asked_by_the_bank()
    await buyer.presses("Approve")

    await buyer.is_told("Paid")  # perhaps after the page has refreshed itself
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_the_bank_asks_and_a_refusal_frees_the_ticket(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(ASKS_AT_THE_BANK)
    await confirms(buyer)
    await buyer.is_asked_by_the_bank()
    await buyer.presses("Decline")

    await buyer.is_told("Cancelled")
    await buyer.sees("Nothing was charged.")
    await buyer.follows("See whether the ticket is still there")
    await buyer.is_told("Available")
    assert market.captured(order_id) == []


@pytest.mark.long
async def test_a_declined_card_is_told_and_another_one_can_pay(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**LENIENT), scripts=False)
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(DECLINED)
    await confirms(buyer)
    await buyer.sees("Your bank declined the card")

    await buyer.pays_with(VISA)
    await confirms(buyer)

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "expiry", "cvc", "complaint"),
    [
        (MISTYPED, "12/34", "123", "The number of the card is wrong."),
        (VISA, "12/20", "123", "The expiry date of the card is wrong."),
        (VISA, "12/34", "1", "The security code of the card is wrong."),
    ],
    ids=["number", "expiry", "code"],
)
async def test_what_is_wrong_with_a_card_is_told_beside_it(
    buyer: Person, ticket: Ticket, number: str, expiry: str, cvc: str, complaint: str
) -> None:
    await buyer.reserves(ticket)
    await buyer.fills_in(number=number, expiry=expiry, cvc=cvc)
    await buyer.pay_button.click()

    await expect(buyer.page.locator("#card-error")).to_contain_text(complaint)
    await buyer.is_told("Waiting for your payment")


@pytest.mark.long
async def test_a_card_can_be_exchanged_before_it_pays(buyer: Person, ticket: Ticket) -> None:
    await buyer.reserves(ticket)
    await buyer.pays_with(DECLINED)
    await buyer.sees("Confirm your payment")
    await buyer.follows("Use another card")

    await buyer.pays_with(VISA)
    await confirms(buyer)

    await buyer.is_told("Paid")


@pytest.mark.long
async def test_an_order_is_cancelled(buyer: Person, ticket: Ticket) -> None:
    await buyer.reserves(ticket)
    await buyer.presses("Cancel the order")

    await buyer.is_told("Cancelled")
    await buyer.sees("The order is cancelled")
    await buyer.goes_to("My orders")
    await expect(buyer.main.get_by_role("listitem")).to_contain_text("Cancelled")


@pytest.mark.long
async def test_a_payment_that_is_being_checked_is_looked_at_again_by_itself(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**LENIENT), scripts=False)
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(VISA)
    await buyer.sees("Confirm your payment")
    market.silence_stripe()
    await buyer.pay_button.click()
    await buyer.is_told("Checking your payment")
    market.mend_stripe()

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_a_ticket_is_edited_and_withdrawn(people: People) -> None:
    seller = await people.somebody("seller", scripts=False)
    ticket = await seller.has_listed()
    await seller.reprices(ticket, "19.50")
    await seller.sees("$19.50")
    await seller.withdraws(ticket)
    await seller.sees("You have not listed anything yet.")


@pytest.mark.long
async def test_a_buyer_is_refunded(people: People, buyer: Person) -> None:
    seller = await people.somebody("seller", scripts=False)
    order_id = await buyer.has_bought(await seller.has_listed())
    await seller.opens("/listings")
    await seller.page.get_by_role("link", name="See the sale of").click()
    await seller.page.get_by_text("Give the buyer the money back").click()
    await seller.page.get_by_label("It is put on sale again").check()
    await seller.presses("Refund $25.00")
    await seller.sees("A refund to the buyer was requested.")

    await buyer.opens(f"/orders/{order_id}")
    await buyer.is_told("Refunded")
    await buyer.follows("Receipt")
    await buyer.sees("Refunded on")
