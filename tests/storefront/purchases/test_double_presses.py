"""Buttons that are pressed twice, at the same instant, in two tabs and at two instances.

After each race comes its control: the same race with the guard off, lost on purpose.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count

import pytest
from beanie import PydanticObjectId

from activities import reservations
from api.payments.service import PaymentService
from tests.api.conftest import list_ticket
from tests.purchases import careless
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser, Page
from tests.storefront.purchases.shopping import (
    comes_to,
    pay,
    reserve,
    status_of,
)
from tests.waiting import eventually
from ticketing.models import Charge, Order

OUT_OF_DATE = "The page was out of date, and this card was not charged."
FEW = 5
ROUNDS = 3


@pytest.fixture(autouse=True)
def one_buyer_takes_part_in_every_round(market: Marketplace) -> None:
    market.set_rules(max_reservations=ROUNDS)


@pytest.fixture
async def other_door(market: Marketplace, buyer: Browser) -> AsyncIterator[Browser]:
    """The buyer, in another tab, at another instance of the API."""
    async with Browser(await market.open_api()) as browser:
        browser.http.cookies = buyer.http.cookies
        yield browser


@pytest.fixture
async def no_unique_index(market: Marketplace) -> AsyncIterator[None]:
    """The database itself does not mind a ticket being sold twice."""
    orders = Order.get_pymongo_collection()
    await orders.drop_index("one_holding_order_per_ticket")
    yield
    await orders.delete_many({})
    await market.bind_documents()


async def pay_twice(
    page: Page, elsewhere: Browser, cards: tuple[str, str] = ("pm_card_visa", "pm_card_visa")
) -> tuple[Page, Page]:
    """The same button in two tabs; where each of them leads."""
    first, second = [page.form("/pay").forge(payment_method=card) for card in cards]
    return await asyncio.gather(first.send(follow=False), second.send(follow=False, by=elsewhere))


async def test_reserve_pressed_often_is_one_order_and_everybody_is_led_to_it(
    market: Marketplace, seller: Browser, buyer: Browser, other_door: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    page = await buyer.open(f"/tickets/{ticket['id']}")
    doors = [buyer, other_door] * 3
    led = await asyncio.gather(
        *(page.form("/reserve").send(follow=False, by=door) for door in doors)
    )
    (order,) = (await market.written())["orders"]
    assert {answer.goes_to for answer in led} == {f"/orders/{order['_id']}"}
    await market.is_consistent()


@pytest.mark.usefixtures("no_unique_index")
async def test_control_without_the_guards_each_press_is_an_order_of_its_own(
    market: Marketplace, seller: Browser, buyer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_looked = asyncio.Barrier(FEW)
    careless.let_everybody_ahead(monkeypatch)
    monkeypatch.setattr(reservations, "lock_ticket", careless.reserve(all_have_looked.wait))
    ticket = await list_ticket(seller.http)
    page = await buyer.open(f"/tickets/{ticket['id']}")
    led = await asyncio.gather(*(page.form("/reserve").send(follow=False) for _ in range(FEW)))
    assert len({answer.goes_to for answer in led}) == FEW


@pytest.mark.parametrize(
    "cards", [("pm_card_visa", "pm_card_visa"), ("pm_card_visa", "pm_card_mastercard")]
)
async def test_pay_pressed_twice_with_whatever_cards_is_charged_once(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    other_door: Browser,
    cards: tuple[str, str],
) -> None:
    async def race(round: int) -> None:
        page = await reserve(buyer, seller)
        doors = (other_door, buyer)
        led = await pay_twice(page, doors[round % 2], cards)
        for answer in led:
            assert answer.goes_to.startswith(page.address)
            # Neither is told that the payment failed; at most, that a second card was not charged.
            shown = await buyer.open(answer.goes_to)
            assert status_of(shown) in {"Paid", "Checking your payment"}
            assert shown.alert in {"", OUT_OF_DATE}
        await comes_to(page, "Paid")

    await asyncio.gather(*map(race, range(ROUNDS)))
    assert market.captured() == [5000] * ROUNDS
    assert len(market.sandbox.payment_intents()) == ROUNDS
    await market.is_consistent()


async def test_control_payments_that_do_not_ask_the_workflow_are_charged_twice(
    market: Marketplace, seller: Browser, buyer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_looked = asyncio.Barrier(2)
    monkeypatch.setattr(
        PaymentService, "submit", careless.submit(both_have_looked.wait, market.gateway)
    )
    page = await reserve(buyer, seller)
    await pay_twice(page, buyer)
    assert market.captured() == [5000, 5000]


@pytest.fixture
def attempts_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each press is a payment of its own, as if the page had not said which one it is."""
    submit, presses = PaymentService.submit, count()

    async def submit_anew(
        service: PaymentService,
        buyer_id: PydanticObjectId,
        order_id: PydanticObjectId,
        payment_method: str,
        key: str,
    ) -> Charge:
        return await submit(service, buyer_id, order_id, payment_method, f"{key} {next(presses)}")

    monkeypatch.setattr(PaymentService, "submit", submit_anew)


async def test_a_second_press_after_a_decline_is_not_a_second_attempt(
    market: Marketplace, seller: Browser, buyer: Browser, other_door: Browser
) -> None:
    market.set_rules(payment_attempts=2)
    page = await reserve(buyer, seller)
    form = page.form("/pay").forge(payment_method="pm_card_chargeDeclined")
    for door in (buyer, other_door, buyer):
        shown = await form.send(by=door)
        assert status_of(shown) == "Waiting for your payment"
    assert len(market.sandbox.payment_intents()) == 1
    assert status_of(await pay(shown)) == "Paid"


@pytest.mark.usefixtures("attempts_are_not_told_apart")
async def test_control_if_the_page_did_not_say_which_attempt_it_is_the_order_would_be_lost(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_attempts=2)
    page = await reserve(buyer, seller)
    form = page.form("/pay").forge(payment_method="pm_card_chargeDeclined")
    statuses = [status_of(await form.send()) for _ in range(2)]
    assert statuses == ["Waiting for your payment", "Cancelled"]
    assert len(market.sandbox.payment_intents()) == 2


async def test_pay_and_cancel_at_the_same_instant_end_one_way_or_the_other(
    market: Marketplace, seller: Browser, buyer: Browser, other_door: Browser
) -> None:
    async def race(round: int) -> str:
        page = await reserve(buyer, seller)
        form = page.form("/pay").forge(payment_method="pm_card_visa")
        if round % 2:
            paid, cancelled = await asyncio.gather(form.send(), page.form("/cancel").send())
        else:
            cancelled, paid = await asyncio.gather(
                page.form("/cancel").send(by=other_door), form.send()
            )
        assert {paid.status, cancelled.status} == {200}
        ended = await eventually(lambda: _end_of(page))
        assert cancelled.notice == "" or ended == "Cancelled"
        return ended

    outcomes = Counter(await asyncio.gather(*map(race, range(ROUNDS))))
    assert market.captured() == [5000] * outcomes["Paid"]
    await market.is_consistent()


async def test_a_sale_refunded_in_two_tabs_is_given_back_once(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await pay(await reserve(buyer, seller))
    sale = await seller.open(f"/sales/{order.response.url.path.split('/')[2]}")
    forms = [sale.form("/refund").fill(ticket=wish) for wish in ("relist", "withdraw")]
    pages = await asyncio.gather(*(form.send() for form in forms))
    assert [page.status for page in pages] == [200, 200]
    await comes_to(order, "Refunded")
    (intent,) = market.sandbox.payment_intents()
    assert len(market.sandbox.refunds(intent["id"])) == 1
    assert market.refunded(intent["id"]) == 5000
    await market.is_consistent()


async def _end_of(page: Page) -> str:
    """How the order has ended, if it has."""
    status = status_of(await page.reload())
    return status if status in {"Paid", "Cancelled"} else ""
