"""Too many people are buying: what a browser shows to those who are turned away."""

import pytest

from api.payments.service import PaymentService
from api.temporal.admission import Admission, Operation
from api.temporal.concurrency_limit import ConcurrencyLimit
from tests.api.conftest import list_ticket
from tests.purchases.marketplace import Marketplace
from tests.resources import exchange
from tests.storefront.browser import Browser
from tests.storefront.purchases.shopping import pay, reserve, status_of
from ticketing.models import Charge


@pytest.fixture
def admission(market: Marketplace) -> Admission:
    """The admission of a process that may do one thing at a time."""
    admission = Admission(limit=ConcurrencyLimit(1))
    exchange(market.app, admission=admission)
    return admission


async def test_who_cannot_reserve_is_told_so_and_can_try_again(
    seller: Browser, buyer: Browser, admission: Admission
) -> None:
    ticket = await list_ticket(seller.http)
    shown = await buyer.open(f"/tickets/{ticket['id']}")
    async with admission.payment():
        page = await shown.form("/reserve").send()
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert int(page.response.headers["Retry-After"]) >= 1
    assert (
        "Too many people are buying right now, and this request reserved nothing. "
        "Try again in a few seconds." in page.text
    )
    page = await page.follow("Back to the ticket")
    assert status_of(await page.form("/reserve").send()) == "Waiting for your payment"


@pytest.mark.parametrize(("bound", "most"), [("MAX_QUEUED", 0), ("MAX_LOOKING", -1)])
async def test_with_the_queue_full_the_same_is_told_at_once(
    seller: Browser,
    buyer: Browser,
    admission: Admission,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    most: int,
) -> None:
    ticket = await list_ticket(seller.http)
    shown = await buyer.open(f"/tickets/{ticket['id']}")
    monkeypatch.setattr(f"api.temporal.admission.{bound}", most)
    buyer.http.cookies.clear()  # nobody even looks who it is
    async with admission.payment():
        page = await shown.form("/reserve").send()
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert "this request reserved nothing" in page.text


async def test_who_cannot_pay_is_told_that_nothing_was_charged_and_can_pay_again(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    admission: Admission,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = await reserve(buyer, seller)

    async def turn_away(*_: object) -> Charge:
        raise admission.turn_away(Operation.PAYMENT)

    with monkeypatch.context() as patch:
        patch.setattr(PaymentService, "submit", turn_away)
        page = await pay(order)
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert int(page.response.headers["Retry-After"]) >= 1
    assert "this payment was not submitted and nothing was charged" in page.text
    assert "The ticket is still reserved for you" in page.text
    page = await page.follow("Back to the order")
    assert status_of(await pay(page)) == "Paid"
    assert market.captured() == [5000]
