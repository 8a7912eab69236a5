"""The page, the order and the charge say one price, or the page says that it has changed."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.reservations import Reservation
from api.orders.reservations import ReservationService
from api.temporal.orders import Offer, OrderWorkflowClient
from tests.api.conftest import Json, assert_problem, list_ticket
from tests.purchases import careless
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser, Form, Page
from tests.storefront.purchases.shopping import order_of, pay, person, reserve_ticket, status_of
from workflows.orders import OrderInput

OUT_OF_DATE = "This page was out of date. This is the ticket as it is now."


def shown_price(page: Page) -> str:
    return page.root.one(id="ticket").one("p", class_="price").text


def sent_price(page: Page) -> str:
    return page.form("/reserve").values["price"]


async def reprice(seller: Browser, ticket: Json, price: int) -> None:
    answer = await person(seller).edit(ticket, price=price)
    assert answer.status_code == 200, answer.text


async def test_reserve_sends_the_price_that_its_page_shows(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http, price=5000)
    page = await buyer.open(f"/tickets/{ticket['id']}")
    assert (shown_price(page), sent_price(page)) == ("$50.00", "5000")

    await reprice(seller, ticket, 99_900)
    part = await page.reload()
    assert (shown_price(part), sent_price(part)) == ("$999.00", "99900")
    # What htmx puts in the place of the ticket holds both.
    assert "/reserve" in [f["action"][-8:] for f in part.root.one(id="ticket").all("form")]
    assert 'value="99900"' in (await buyer.ask_for_part(page.address)).text


async def test_a_price_that_has_changed_is_said_and_nothing_is_reserved(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http, price=5000)
    stale = await buyer.open(f"/tickets/{ticket['id']}")
    await reprice(seller, ticket, 99_900)

    page = await stale.form("/reserve").send()
    assert page.status == 409
    assert page.alert == "The price has changed from $50.00 to $999.00."
    assert (shown_price(page), sent_price(page)) == ("$999.00", "99900")
    assert (await market.written())["orders"] == []

    page = await page.form("/reserve").send()
    assert status_of(page) == "Waiting for your payment"
    assert "$999.00" in page.text
    assert status_of(await pay(page)) == "Paid"
    assert market.captured() == [99_900]


async def test_who_holds_the_ticket_at_another_price_is_led_to_the_order(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http, price=5000)
    stale = await buyer.open(f"/tickets/{ticket['id']}")
    await reprice(seller, ticket, 99_900)
    order = await reserve_ticket(buyer, ticket)

    page = await stale.form("/reserve").send()
    assert (page.status, page.alert) == (409, "The price has changed from $50.00 to $999.00.")
    assert (await page.follow("Go to your order")).address == order.address


Spoil = Callable[[Form], Form]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda form: form.without("price"),
        *(
            lambda form, price=price: form.forge(price=price)
            for price in ("", " ", "free", "50.00", "-5000", "+5000", "5e3", "5" * 400, "²", "0")
        ),
    ],
)
async def test_a_form_without_a_price_is_a_page_that_was_out_of_date(
    market: Marketplace, seller: Browser, buyer: Browser, spoil: Spoil
) -> None:
    ticket = await list_ticket(seller.http, price=5000)
    page = await spoil((await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve")).send()
    assert (page.status, page.alert) == (409, OUT_OF_DATE)
    assert (shown_price(page), sent_price(page)) == ("$50.00", "5000")
    assert (await market.written())["orders"] == []


async def test_a_price_that_is_back_by_now_is_not_said_to_have_changed(
    market: Marketplace, seller: Browser, buyer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await list_ticket(seller.http, price=5000)
    stale = await buyer.open(f"/tickets/{ticket['id']}")
    await reprice(seller, ticket, 99_900)
    reserve = ReservationService.reserve

    async def reserve_and_then_reprice(*request: Any, **more: Any) -> Any:
        try:
            return await reserve(*request, **more)
        finally:
            await reprice(seller, ticket, 5000)

    monkeypatch.setattr(ReservationService, "reserve", reserve_and_then_reprice)
    page = await stale.form("/reserve").send()
    assert (page.status, page.alert, sent_price(page)) == (409, OUT_OF_DATE, "5000")


@pytest.fixture
def before_the_lock(
    market: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Let something happen between the API's look at the ticket and the ticket's lock."""

    def set_up(step: Callable[[], Awaitable[None]]) -> None:
        reserve = OrderWorkflowClient.reserve

        async def step_and_reserve(
            client: OrderWorkflowClient, order: OrderInput, offer: Offer
        ) -> Reservation:
            await step()
            return await reserve(client, order, offer)

        monkeypatch.setattr(OrderWorkflowClient, "reserve", step_and_reserve)

    return set_up


async def _sell(seller: Browser) -> tuple[Form, Json]:
    """The form that has listed a ticket at $50.00, and the ticket."""
    form = (await seller.open("/sell")).form("/sell").fill(title="Radiohead", price="50.00")
    page = await form.send()
    return form, {"id": page.address.removeprefix("/tickets/").partition("?")[0]}


async def _withdraw_and_sell_again(seller: Browser, form: Form, ticket: Json) -> Page:
    """Post the same form, with another price, once its ticket is gone."""
    assert (await person(seller).withdraw(ticket)).status_code == 204
    return await form.fill(price="999.00").send()


async def test_a_form_sent_again_after_the_withdrawal_lists_another_ticket(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    form, ticket = await _sell(seller)
    seen = await buyer.open(f"/tickets/{ticket['id']}")
    again = await _withdraw_and_sell_again(seller, form, ticket)
    assert again.notice == "Your ticket is on sale."
    assert ticket["id"] not in again.address
    assert (await seen.form("/reserve").send()).status == 404
    assert (await form.fill(price="999.00").send()).address == again.address  # pressed twice


async def test_a_ticket_listed_again_before_the_lock_is_not_the_one_that_was_seen(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    before_the_lock: Callable[[Callable[[], Awaitable[None]]], None],
) -> None:
    form, ticket = await _sell(seller)

    async def sell_again() -> None:
        await _withdraw_and_sell_again(seller, form, ticket)

    before_the_lock(sell_again)
    assert_problem(await person(buyer).ask_for(ticket), 404, "ticket_not_found")
    assert (await market.written())["orders"] == []


@pytest.mark.parametrize("answer_is_rebuilt", [False, True])
async def test_control_if_ids_came_again_only_the_orders_own_answer_would_be_true(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    before_the_lock: Callable[[Callable[[], Awaitable[None]]], None],
    monkeypatch: pytest.MonkeyPatch,
    answer_is_rebuilt: bool,
) -> None:
    careless.give_the_same_id_again(monkeypatch)
    form, ticket = await _sell(seller)

    async def sell_again() -> None:
        await _withdraw_and_sell_again(seller, form, ticket)

    before_the_lock(sell_again)
    if answer_is_rebuilt:
        careless.answer_from_what_was_seen(monkeypatch)
    told = await person(buyer).reserve(ticket)
    charge = await person(buyer).buy(told)
    assert charge["amount"] == 99_900
    assert told["ticket"]["price"] == (5000 if answer_is_rebuilt else 99_900)


async def test_the_order_of_a_page_is_charged_what_the_page_said(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http, price=1234)
    page = await reserve_ticket(buyer, ticket)
    assert "$12.34" in page.text
    await pay(page)
    (charge,) = (await person(buyer).order(order_of(page)))["charges"]
    assert charge["amount"] == 1234
