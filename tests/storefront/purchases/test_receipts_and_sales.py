"""After a purchase: the buyer's receipt, the seller's sale, and the money given back."""

from datetime import timedelta

from beanie import PydanticObjectId

from tests.api.conftest import list_ticket
from tests.api.tickets import SOME_ID
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser, Page
from tests.storefront.purchases.shopping import (
    buy,
    comes_to,
    id_of,
    pay,
    person,
    reserve,
    reserve_ticket,
    status_of,
)
from tests.waiting import eventually
from ticketing.models import Charge, Order, Ticket

REFUNDS = "/v1/refunds"


def facts(page: Page) -> dict[str, str]:
    """What a receipt says, by its terms."""
    terms, told = page.root.all("dt"), page.root.all("dd")
    return dict(zip((e.text for e in terms), (e.text for e in told), strict=True))


async def sale_of(seller: Browser, order: Page) -> Page:
    """The seller's page of an order."""
    return await seller.open(f"/sales/{id_of(order)}")


async def give_back(sale: Page, *, relist: bool = False) -> Page:
    return await sale.form("/refund").fill(ticket="relist" if relist else "withdraw").send()


async def test_a_receipt_says_what_was_paid_by_whom_and_when(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await buy(buyer, seller, title="Radiohead", price=123_456)
    page = await order.follow("Receipt")
    found = await Order.get(PydanticObjectId(id_of(order)))
    (charge,) = await Charge.find_all().to_list()
    assert found is not None
    assert found.completed_at is not None
    assert facts(page) == {
        "Ticket": "Radiohead",
        "Paid": "$1,234.56 USD",
        "Paid on": f"{found.completed_at:%-d %B %Y, %H:%M} UTC",
        "Buyer": await person(buyer).email(),
        "Order": id_of(order),
        "Payment": charge.stripe_id,
    }
    assert market.intent_of({"stripeId": charge.stripe_id})["amount_received"] == 123_456
    assert (await page.follow("Back to the order")).address == order.address


async def test_there_is_a_receipt_only_of_what_was_paid(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    for change in ("reserved", "at the bank", "cancelled"):
        if change == "at the bank":
            await pay(order, "pm_card_authenticationRequired", follow=False)
        if change == "cancelled":
            await order.form("/cancel").send()
        page = await buyer.open(f"{order.address}/receipt", follow=False)
        assert page.goes_to == order.address, change


async def test_orders_receipts_and_sales_are_for_those_whom_they_concern(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser, visitor: Browser
) -> None:
    order = await buy(buyer, seller)
    sale = f"/sales/{id_of(order)}"
    for stranger in (other_buyer, seller):
        for path in (order.address, f"{order.address}/receipt"):
            page = await stranger.open(path)
            assert (page.status, page.heading) == (404, "There is nothing here")
    assert (await other_buyer.open(sale)).status == 404
    assert (await seller.open(sale)).status == 200
    page = await buyer.open(sale)
    assert (page.status, page.heading) == (403, "That is not allowed")
    assert "Only the seller of the ticket may refund its order." in page.text
    for path in (order.address, f"{order.address}/receipt", sale):
        assert (await visitor.open(path)).address == f"/signin?next={path}"
    for nothing in (SOME_ID, "x", "0" * 25, "%00"):
        for path in ("/orders/{}", "/orders/{}/receipt", "/sales/{}"):
            assert (await buyer.open(path.format(nothing))).status == 404


async def test_nobody_else_pays_cancels_or_refunds(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    held, sold = await reserve(buyer, seller), await buy(buyer, seller)
    # Each with the right token of the stranger's own session.
    token = (await other_buyer.open("/sell")).form("/sell").values["csrf_token"]
    before = await market.written()
    for path, fields in (
        (f"{held.address}/pay", {"attempt": "1", "payment_method": "pm_card_visa"}),
        (f"{held.address}/cancel", {}),
        (f"/sales/{id_of(sold)}/refund", {"ticket": "withdraw"}),
    ):
        page = await other_buyer.send(path, {"csrf_token": token, **fields})
        assert (page.status, page.heading) == (404, "There is nothing here")
    own = (await buyer.open("/sell")).form("/sell").values["csrf_token"]
    page = await buyer.send(f"/sales/{id_of(sold)}/refund", {"csrf_token": own})
    assert (page.status, page.heading) == (403, "That is not allowed")
    assert await market.written() == before


# The seller's side


async def test_the_seller_follows_a_sale_and_does_not_learn_why_a_card_failed(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    market.set_rules(payment_attempts=2)
    order = await reserve(buyer, seller, title="Radiohead", price=777)
    sale = await sale_of(seller, order)
    assert sale.title == "Sale of Radiohead · Holdfast"
    assert "Reserved by a buyer who has not paid yet" in sale.text
    assert not sale.has_form("/refund")

    await pay(order, "pm_card_chargeDeclinedInsufficientFunds")
    sale = await sale.reload()
    assert "The payment did not go through." in sale.text
    for secret in ("funds", "declined", await person(buyer).email()):
        assert secret not in sale.response.text
    await pay(await order.reload())
    sale = await (await seller.open("/listings")).follow("See the sale")
    assert sale.address == f"/sales/{id_of(order)}"
    assert sale.root.one("article").one("span", class_="status").text == "Sold"
    assert sale.form("/refund").values["ticket"] == "withdraw"
    assert "Refund $7.77" in sale.text


async def test_a_cancelled_sale_says_so(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await reserve(buyer, seller)
    await order.form("/cancel").send()
    sale = await sale_of(seller, order)
    assert sale.root.one("article").one("span", class_="status").text == "Cancelled"
    assert "The buyer cancelled the order." in sale.text
    assert not sale.has_form("/refund")


async def test_a_refund_gives_the_money_back_and_withdraws_the_ticket(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await buy(buyer, seller, title="Radiohead", price=777)
    sale = await give_back(await sale_of(seller, order))
    assert sale.address == f"/sales/{id_of(order)}"
    assert sale.root.one("article").one("span", class_="status").text == "Refunded"
    assert not sale.has_form("/refund")
    assert await Ticket.find_all().to_list() == []

    page = await order.reload()
    assert status_of(page) == "Refunded"
    assert "Your payment was refunded and the order cancelled." in page.text
    assert "Nothing was charged." not in page.text
    receipt = facts(await page.follow("Receipt"))
    (charge,) = await Charge.find_all().to_list()
    found = await Order.get(PydanticObjectId(id_of(order)))
    assert found is not None
    assert found.cancelled_at is not None
    assert receipt["Paid"] == "$7.77 USD"
    assert receipt["Refunded on"] == f"{found.cancelled_at:%-d %B %Y, %H:%M} UTC"
    assert receipt["Refund"] == charge.stripe_refund_id
    assert market.refunded(charge.stripe_id) == 777
    # A late cancellation finds it refunded, and claims nothing else.
    late = await buyer.send(
        f"{order.address}/cancel",
        {"csrf_token": order.root.all("input", name="csrf_token")[0]["value"]},
    )
    assert (status_of(late), late.notice) == ("Refunded", "")
    await market.is_consistent()


async def test_a_refunded_ticket_can_be_put_on_sale_again(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    order = await pay(await reserve_ticket(buyer, ticket))
    await give_back(await sale_of(seller, order), relist=True)
    page = await buy_again(other_buyer, ticket["id"])
    assert status_of(page) == "Paid"
    assert status_of(await order.reload()) == "Refunded"
    await market.is_consistent()


async def buy_again(buyer: Browser, ticket_id: str) -> Page:
    page = await (await buyer.open(f"/tickets/{ticket_id}")).form("/reserve").send()
    return await pay(page)


async def test_a_refund_that_is_asked_for_twice_is_made_once(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await buy(buyer, seller)
    sale = await sale_of(seller, order)
    for relist in (True, False):
        page = await give_back(sale, relist=relist)
        assert page.root.one("article").one("span", class_="status").text == "Refunded"
    (charge,) = await Charge.find_all().to_list()
    assert charge.stripe_id is not None
    assert len(market.sandbox.refunds(charge.stripe_id)) == 1
    assert await Ticket.count() == 1  # as the first one wished


async def test_what_was_not_paid_is_not_refunded_and_the_page_says_so(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    sold, held = await buy(buyer, seller), await reserve(buyer, seller)
    form = (await sale_of(seller, sold)).form("/refund")
    page = await seller.send(f"/sales/{id_of(held)}/refund", form.values)
    assert (page.status, page.alert) == (409, "The order was never paid.")
    assert "Reserved by a buyer who has not paid yet" in page.text
    assert (await seller.open(page.address)).address == f"/sales/{id_of(held)}"


async def test_a_refund_that_stripe_refuses_is_told_to_the_seller_alone(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await pay(await reserve(buyer, seller), "pm_card_createDispute")
    sale = await sale_of(seller, order)
    for times in (1, 2):
        page = await give_back(sale)
        assert page.status == 409
        assert page.alert.startswith("The buyer has disputed the payment with the bank,")
        assert page.text.count("The buyer has disputed the payment") == times + 1
        assert "charge_disputed" not in page.response.text
        assert page.root.one("article").one("span", class_="status").text == "Sold"
        assert page.has_form("/refund")
    page = await order.reload()
    assert status_of(page) == "Paid"
    assert "charge_disputed" not in page.response.text
    told = [entry.one("time").text for entry in page.root.one("ol", class_="timeline").all("li")]
    assert told
    assert all(time.endswith(" UTC") for time in told)


async def test_a_refund_that_stripe_does_not_answer_is_under_way_and_then_done(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await buy(buyer, seller)
    market.set_rules(payment_wait=timedelta(milliseconds=100))
    market.sandbox.set_fault("lost_request", method="POST", path=REFUNDS, times=None)
    await give_back(await sale_of(seller, order))

    async def is_under_way() -> bool:
        return "The refund is under way." in (await sale_of(seller, order)).text

    await eventually(is_under_way)  # once a worker has recorded that it was requested
    sale = await sale_of(seller, order)
    assert not sale.has_form("/refund")
    assert sale.root.one("article").one("span", class_="status").text == "Sold"
    assert "A refund to the buyer was requested." in sale.text
    await eventually(lambda: market.sandbox.count("POST", REFUNDS))
    page = await order.reload()
    assert status_of(page) == "Paid"
    assert "A refund of your payment was requested." in page.text
    market.sandbox.clear_faults()
    await comes_to(order, "Refunded")
    assert "under way" not in (await sale_of(seller, order)).text


async def test_without_temporal_a_refund_is_a_page_that_says_so_and_nothing_is_given_back(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    order = await buy(buyer, seller)
    sale = await sale_of(seller, order)
    await market.lose_temporal()
    page = await give_back(sale)
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert (await page.follow("Back to the sale")).has_form("/refund")
    (charge,) = await Charge.find_all().to_list()
    assert market.refunded(charge.stripe_id) == 0
    market.find_temporal()
    again = await give_back(sale)
    assert again.root.one("article").one("span", class_="status").text == "Refunded"
