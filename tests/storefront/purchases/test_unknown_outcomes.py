"""Parts that are slow or away: the page says what is known, and the truth once it is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from beanie import PydanticObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from temporalio.client import Client, RetryConfig
from temporalio.contrib.pydantic import pydantic_data_converter

from activities import reservations
from activities.reservations import Reservation, ReserveTicket
from api.temporal import orders
from tests.api.conftest import list_ticket
from tests.api.tickets import SOME_ID
from tests.purchases.lines import Line, line_to
from tests.purchases.marketplace import Marketplace
from tests.resources import connected, exchange
from tests.storefront.browser import Browser, Page
from tests.storefront.purchases.shopping import (
    comes_to,
    order_of,
    pay,
    reserve,
    status_of,
)
from tests.waiting import eventually, until
from ticketing.models import Order
from workflows import orders as order_workflow

AUTHORIZE = "/v1/payment_intents"
CAPTURE = "/v1/payment_intents/*/capture"
HURRIED = timedelta(milliseconds=100)
SHORT = timedelta(seconds=5)

CHECKING = "Checking your payment"


@pytest.fixture
async def temporal_line(idle_market: Marketplace, temporal_address: str) -> AsyncIterator[Line]:
    """The line by which the API reaches Temporal; the worker has its own."""
    async with line_to(temporal_address) as line:
        client = await Client.connect(
            line.address,
            data_converter=pydantic_data_converter,
            retry_config=RetryConfig(max_retries=2, max_elapsed_time_millis=500),
        )
        exchange(idle_market.app, temporal=connected(client))
        yield line


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits as long from now on as they would in production."""
    monkeypatch.setattr(orders, "WORKER_ANSWER_TIMEOUT", timedelta(seconds=0.4))
    monkeypatch.setattr(order_workflow, "RESERVE_TIMEOUT", timedelta(seconds=0.3))


def assert_checks(page: Page) -> None:
    """The page neither says that it failed nor that it went through, and offers no second try."""
    assert (page.status, status_of(page)) == (200, CHECKING)
    assert "There is no need to pay again" in page.text
    for premature in ("declined", "failed", "Nothing was charged", "went through"):
        assert premature not in page.text
    assert not page.has_form("/pay")
    assert not page.has_form("/_sandbox/cards")
    # Without scripts the page looks again by itself.
    assert page.root.one("meta", **{"http-equiv": "refresh"})["content"] == "3"


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        ("held", AUTHORIZE),
        ("lost_answer", AUTHORIZE),
        ("held", CAPTURE),
        ("error", CAPTURE),
    ],
)
async def test_while_stripe_is_slow_or_fails_the_page_checks_and_then_tells_the_truth(
    market: Marketplace, seller: Browser, buyer: Browser, fault: str, path: str
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault(fault, method="POST", path=path, times=None)
    page = await pay(await reserve(buyer, seller))
    assert "?paying=" in page.address
    assert_checks(page)
    # Pressed again, or looked at without what the address says: the same.
    await eventually(lambda: market.sandbox.count("POST", path))
    assert_checks(await buyer.open(page.address.partition("?")[0]))
    market.sandbox.clear_faults()
    page = await comes_to(page, "Paid")
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_a_capture_whose_answer_is_lost_is_found_by_reading_the_payment(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.sandbox.set_fault("lost_answer", method="POST", path=CAPTURE, times=None)
    await comes_to(await pay(await reserve(buyer, seller)), "Paid")
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_a_decline_that_comes_late_is_told_when_it_has_come(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("held", path=AUTHORIZE)
    page = await pay(await reserve(buyer, seller), "pm_card_chargeDeclinedInsufficientFunds")
    assert_checks(page)
    market.sandbox.clear_faults()
    page = await comes_to(page, "Cancelled")
    assert "Your bank declined the card: insufficient funds." in page.text
    assert market.captured() == []


async def test_a_bank_that_wants_the_buyer_late_is_told_when_it_is_known(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("held", path=AUTHORIZE)
    page = await pay(await reserve(buyer, seller), "pm_card_authenticationRequired")
    assert_checks(page)
    market.sandbox.clear_faults()
    page = await comes_to(page, "Waiting for you at your bank")
    assert page.has_link("Go to your bank")


async def test_a_payment_that_waits_for_a_worker_is_being_checked_even_after_the_deadline(
    idle_market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    idle_market.set_rules(payment_wait=HURRIED, reservation_ttl=SHORT)
    async with idle_market.working():
        order = await reserve(buyer, seller)
    page = await pay(order)
    assert_checks(page)
    for again in (await pay(order), await pay(order)):  # pressed and pressed
        assert again.address == page.address
    # Whoever comes without what the address says is told no more and no less.
    assert_checks(await order.reload())
    await until(await deadline(order))
    assert_checks(await page.reload())
    assert_checks(await order.reload())
    async with idle_market.working():
        await comes_to(page, "Paid")
        assert idle_market.captured() == [5000]
        await idle_market.is_consistent()


async def test_without_temporal_a_payment_leads_to_its_order_and_not_away_from_it(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    await market.lose_temporal()
    page = await pay(order)
    assert page.address.startswith(f"{order.address}?paying=")
    assert status_of(page) == "Waiting for your payment"
    assert page.alert == (
        "Your payment may not have got through. Nothing was charged so far. "
        "You can pay again, and you cannot be charged twice."
    )

    market.find_temporal()
    page = await page.reload()
    assert status_of(page) == "Waiting for your payment"
    assert status_of(await pay(page)) == "Paid"
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_without_temporal_an_order_that_nobody_has_paid_is_shown_as_it_is_recorded(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    await market.lose_temporal()
    assert status_of(await order.reload()) == "Waiting for your payment"


async def test_an_invented_payment_does_not_keep_anybody_from_paying(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    for invented in ("x", "0" * 24, SOME_ID):
        page = await buyer.open(f"{order.address}?paying={invented}")
        assert status_of(page) == "Waiting for your payment"
        assert page.has_form("/pay")


async def test_a_payment_whose_answer_is_lost_on_the_way_from_temporal_is_charged_once(
    market: Marketplace, seller: Browser, buyer: Browser, temporal_line: Line
) -> None:
    market.sandbox.set_fault("lost_request", method="POST", path=AUTHORIZE, times=None)
    market.set_rules(payment_wait=timedelta(seconds=3))
    order = await reserve(buyer, seller)

    async def cut_when_stripe_is_asked() -> None:
        await eventually(lambda: market.sandbox.count("POST", AUTHORIZE))
        await temporal_line.cut()

    _, page = await asyncio.gather(cut_when_stripe_is_asked(), pay(order))
    assert_checks(page)
    again = await pay(order)
    assert_checks(again)
    market.sandbox.clear_faults()
    await comes_to(page, "Paid")
    assert market.captured() == [5000]


async def test_a_cancellation_that_nobody_carries_out_is_not_promised(
    idle_market: Marketplace, seller: Browser, buyer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with idle_market.working():
        order = await reserve(buyer, seller)
    be_impatient(monkeypatch)
    page = await order.form("/cancel").send()
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert "The order could not be cancelled in time; ask again." in page.text
    assert status_of(await order.reload()) == "Waiting for your payment"
    # The answer leads back to the order, and so does its address.
    assert status_of(await page.follow("Back to the order")) == "Waiting for your payment"
    assert status_of(await buyer.open(page.address)) == "Waiting for your payment"
    await idle_market.lose_temporal()
    page = await order.form("/cancel").send()
    assert (page.status, page.heading) == (503, "Back in a moment")


async def test_a_payment_in_the_making_is_not_cancelled_and_the_page_says_why(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path=AUTHORIZE, times=None)
    order = await reserve(buyer, seller)
    await pay(order)
    page = await order.form("/cancel").send()
    assert_checks(page)
    assert page.notice == ""
    market.sandbox.clear_faults()
    await comes_to(page, "Paid")


# Reserving


async def test_without_a_worker_nothing_is_reserved_and_the_page_says_so(
    idle_market: Marketplace, seller: Browser, buyer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await list_ticket(seller.http)
    be_impatient(monkeypatch)
    page = await (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve").send()
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert "nothing was reserved" in page.text
    async with idle_market.working():
        # And it stays so, with a worker that comes late; what it leaves behind says so, too.
        abandoned = await eventually(lambda: Order.find_all().first_or_none())
        assert abandoned is not None
        page = await buyer.open(f"/orders/{abandoned.id}")
        assert status_of(page) == "Cancelled"
        assert "The ticket could not be reserved in time. Nothing was charged." in page.text
        page = await page.follow("See whether the ticket is still there")
        assert page.has_form("/reserve")


async def test_a_reservation_whose_answer_is_lost_is_not_said_to_be_none(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    temporal_line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reserve_in_database = reservations.lock_ticket

    async def reserve_and_cut_the_line(
        input: ReserveTicket, session: AsyncClientSession
    ) -> Reservation:
        reservation = await reserve_in_database(input, session)
        await temporal_line.cut()
        return reservation

    monkeypatch.setattr(reservations, "lock_ticket", reserve_and_cut_the_line)
    ticket = await list_ticket(seller.http, title="Radiohead")
    page = await (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve").send()
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert "nothing was reserved" not in page.text
    assert "If the ticket was reserved for you all the same, it is among your orders." in page.text
    (row,) = (await buyer.open("/orders")).root.all("li", class_="row")
    assert row.one("a").text == "Radiohead"
    assert row.one("span", class_="status").text == "Reserved for you"


async def deadline(order: Page) -> datetime:
    found = await Order.get(PydanticObjectId(order_of(order)["id"]))
    assert found is not None
    return found.expires_at
