"""Pressing twice, paying from two tabs, and a Stripe that is slow or away: one charge, no scare."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.browser.cards import VISA
from tests.browser.changes import STATUS, texts_of
from tests.browser.market import LENIENT, Market, Ticket
from tests.browser.person import People, Person, hold_until_all_have_pressed

WITHOUT_SCARE = ["Waiting for your payment", "Checking your payment", "Paid"]


@pytest.mark.long
async def test_pressing_pay_twice_charges_once(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.types_card()
    await buyer.pay_button.dblclick()

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]
    assert len(market.payment_intents(order_id)) == 1


@pytest.mark.long
async def test_pressing_pay_twice_without_scripts_charges_once(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(scripts=False)
    order_id = await buyer.reserves(ticket)
    await buyer.pays_with(VISA)
    await buyer.sees("Confirm your payment")
    market.break_stripe("latency", delay_seconds=1)
    await buyer.pay_button.dblclick()

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]
    assert len(market.payment_intents(order_id)) == 1


@pytest.mark.long
async def test_a_form_that_is_sent_twice_charges_once(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    await buyer.page.evaluate("""() => {
        const pay = document.getElementById("pay");
        pay.elements.payment_method.value = "pm_card_visa";
        const body = new URLSearchParams(new FormData(pay));
        fetch(pay.action, {method: "POST", body});
        pay.submit();
        pay.submit();
    }""")

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]
    assert len(market.payment_intents(order_id)) == 1


async def test_paying_from_two_tabs_at_once_charges_once(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    order_id = await buyer.reserves(ticket)
    other_tab = await buyer.opens_another_tab()
    await hold_until_all_have_pressed("**/pay", buyer, other_tab)
    await asyncio.gather(buyer.pays_with(VISA), other_tab.pays_with(VISA))

    await buyer.is_told("Paid")
    await other_tab.is_told("Paid")
    assert market.captured(order_id) == [2500]
    assert len(market.payment_intents(order_id)) == 1


@pytest.mark.long
async def test_while_stripe_is_silent_the_payment_is_being_checked(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**LENIENT))
    told = await texts_of(buyer, STATUS)
    order_id = await buyer.reserves(ticket)
    await buyer.pays_and_stripe_falls_silent()
    await buyer.is_told("Checking your payment")
    await expect(buyer.pay_button).to_have_count(0)
    await buyer.reloads()
    await buyer.is_told("Checking your payment")
    other_tab = await buyer.opens_another_tab(f"/orders/{order_id}")
    await other_tab.is_told("Checking your payment")
    market.mend_stripe()

    await buyer.is_told("Paid")
    await other_tab.is_told("Paid")
    assert list(dict.fromkeys(told)) == WITHOUT_SCARE
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_a_page_that_is_left_while_it_pays_goes_on_by_itself(
    buyer: Person, ticket: Ticket, market: Market
) -> None:
    told = await texts_of(buyer, STATUS)
    order_id = await buyer.reserves(ticket)
    await buyer.pays_and_stripe_falls_silent()
    other_tab = await buyer.opens_another_tab(f"/orders/{order_id}")
    await other_tab.is_told("Checking your payment")
    await buyer.opens(f"/orders/{order_id}")
    await buyer.is_told("Checking your payment")
    market.mend_stripe()

    await buyer.is_told("Paid")
    await other_tab.is_told("Paid")
    assert list(dict.fromkeys(told)) == WITHOUT_SCARE
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_while_stripe_fails_the_payment_is_being_checked(
    people: People, ticket: Ticket, market: Market
) -> None:
    buyer = await people.somebody(at=market.shop(**LENIENT))
    told = await texts_of(buyer, STATUS)
    order_id = await buyer.reserves(ticket)
    market.break_stripe("error", status=503, times=None)
    await buyer.pays_with(VISA)
    await buyer.is_told("Checking your payment")
    await buyer.reloads()
    await buyer.is_told("Checking your payment")
    market.mend_stripe()

    await buyer.is_told("Paid")
    assert list(dict.fromkeys(told)) == WITHOUT_SCARE
    assert market.captured(order_id) == [2500]


@pytest.mark.long
async def test_a_card_that_does_not_reach_stripe_is_not_charged_and_can_be_sent_again(
    people: People, buyer: Person, ticket: Ticket, market: Market
) -> None:
    people.watch.expect("ERR_EMPTY_RESPONSE")
    order_id = await buyer.reserves(ticket)
    market.break_stripe("lost_request", path="/v1/payment_methods", times=None)
    await buyer.pays_with(VISA)
    await expect(buyer.page.locator("#card-error")).to_contain_text("Nothing was charged.")
    market.mend_stripe()

    await buyer.pays_with(VISA)

    await buyer.is_told("Paid")
    assert market.captured(order_id) == [2500]
