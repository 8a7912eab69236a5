"""A walk through every page, in each of its main states.

Each round is a story of its own, and stops wherever there is something to look at. What is there
is looked at by whoever walks along: for accessibility (`test_accessibility.py`), or with a camera
(`screenshots.py`).
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

from beanie import PydanticObjectId
from playwright.async_api import Page, expect
from pymongo import AsyncMongoClient

from tests.browser.cards import ASKS_AT_THE_BANK, MISTYPED, WITHOUT_FUNDS
from tests.browser.market import LENIENT, REAL_STRIPE, SHORT, WITHOUT_TEMPORAL
from tests.browser.person import People, Person
from tests.browser.stripe_js import FakeStripe
from ticketing.mongodb import BSONDocument


@dataclass(frozen=True)
class Stop:
    """A page in some state; the name is one for files, too."""

    name: str
    page: Page


Stops = AsyncIterator[Stop]
Round = Callable[[People], Stops]


async def browsing(people: People) -> Stops:
    """Looking around: lists and tickets, as a visitor, a buyer and a seller see them."""
    visitor, seller, buyer = await people.visitor(), *await _two(people)
    free, held, sold = [
        await seller.has_listed(title, price)
        for title, price in (
            ("Ferry Lights, Harbour Hall, row 12 seat 4", 4500),
            ("The Snow Merchant, ballet, upper circle", 4750),
            ("Brass Foxes, Harbour Hall, row 2", 8800),
        )
    ]
    await buyer.has_reserved(held)
    await buyer.has_bought(sold)

    await visitor.opens("/")
    yield Stop("browse", visitor.page)
    await seller.opens("/?q=harbour&show=available")
    yield Stop("browse-own", seller.page)
    await visitor.opens("/?q=nothing+is+called+so")
    yield Stop("browse-none-found", visitor.page)
    people.watch.expect("422 GET")
    await visitor.opens("/?min=cheap")
    yield Stop("browse-wrong-price", visitor.page)

    await visitor.opens(free.path)
    yield Stop("ticket-visitor", visitor.page)
    for person, name in ((buyer, "buyer"), (seller, "seller")):
        await person.opens(free.path)
        yield Stop(f"ticket-{name}", person.page)
    for ticket, state in ((held, "reserved"), (sold, "sold")):
        for person, name in ((visitor, "visitor"), (buyer, "buyer"), (seller, "seller")):
            await person.opens(ticket.path)
            yield Stop(f"ticket-{state}-{name}", person.page)

    await visitor.opens(free.path)
    await visitor.is_told("Available")
    await seller.withdraws(free)
    await visitor.sees("This ticket was withdrawn")
    yield Stop("ticket-withdrawn", visitor.page)

    wanted = await seller.has_listed("Two Winters, The Old Mill, stalls", 2900)
    people.watch.expect("409 POST")
    late = await people.somebody("late")
    await late.hears_of_nothing()
    await late.opens(wanted.path)
    await buyer.has_reserved(wanted)
    await late.presses("Reserve")
    await late.is_told("Reserved")
    yield Stop("ticket-taken", late.page)


async def accounts(people: People) -> Stops:
    """Signing up and in, with everything that is wrong with it."""
    visitor = await people.visitor()
    await visitor.opens("/signup")
    yield Stop("signup", visitor.page)
    people.watch.expect("422 POST")
    await _sends_unchecked(visitor, email="nobody", password="short")
    await visitor.presses("Sign up")
    await visitor.sees("Use at least 8 characters.")
    yield Stop("signup-wrong", visitor.page)

    await visitor.opens("/signin")
    yield Stop("signin", visitor.page)
    people.watch.expect("401 POST")
    await visitor.fills_in(email=visitor.email, password="a wrong password")
    await visitor.presses("Sign in")
    await visitor.sees("New here?")
    yield Stop("signin-wrong", visitor.page)

    person = await people.somebody()
    await person.opens("/")
    await person.signs_out()
    yield Stop("signed-out", person.page)


async def selling(people: People) -> Stops:
    """Listing, editing, withdrawing, and a sale that is given back."""
    seller, buyer = await _two(people)
    await seller.opens("/listings")
    yield Stop("listings-empty", seller.page)
    await seller.opens("/sell")
    yield Stop("sell", seller.page)
    people.watch.expect("422 POST")
    await _sends_unchecked(seller, title="", price="a lot")
    await seller.presses("Put on sale")
    await seller.sees("Fill this in.")
    yield Stop("sell-wrong", seller.page)
    free = await seller.lists("Evensong for Strings, St Aldric's", "26")
    yield Stop("listed", seller.page)

    await seller.opens(f"{free.path}/edit")
    yield Stop("edit", seller.page)
    await seller.fills_in(price="0")
    await seller.presses("Save")
    await seller.sees("The lowest price is")
    yield Stop("edit-wrong", seller.page)
    await seller.opens(f"{free.path}/withdraw")
    yield Stop("withdraw", seller.page)

    held = await seller.has_listed("Northern Static, Arena East, golden circle", 19900)
    sold = await seller.has_listed("Idris Vane Quintet, Blue Door, table for two", 5800)
    await buyer.has_reserved(held)
    order_id = await buyer.has_bought(sold)
    for page in ("edit", "withdraw"):
        await seller.opens(f"{held.path}/{page}")
        yield Stop(f"{page}-reserved", seller.page)
    await seller.opens("/listings")
    yield Stop("listings", seller.page)

    await seller.opens(f"/sales/{order_id}")
    yield Stop("sale", seller.page)
    await seller.page.get_by_text("Give the buyer the money back").click()
    yield Stop("sale-refund", seller.page)
    await seller.presses("Refund $58.00")
    await seller.sees("A refund to the buyer was requested.")
    await buyer.opens(f"/orders/{order_id}")
    await buyer.is_told("Refunded")
    yield Stop("order-refunded", buyer.page)
    await buyer.follows("Receipt")
    yield Stop("receipt-refunded", buyer.page)
    await seller.opens(f"/sales/{order_id}")
    yield Stop("sale-refunded", seller.page)
    await seller.withdraws(free)
    yield Stop("withdrawn", seller.page)


async def paying(people: People) -> Stops:
    """An order from the reservation to the receipt, with everything that can come between."""
    market = people.market
    buyer = await people.somebody(at=market.shop(**LENIENT))
    await buyer.opens("/orders")
    yield Stop("orders-empty", buyer.page)
    await buyer.reserves(market.offer("Tidewater Choir, Seaview Pavilion", 3200))
    yield Stop("order-payable", buyer.page)
    people.watch.expect("402 POST")
    await buyer.pays_with(MISTYPED)
    await buyer.sees("Your card number is incorrect.")
    yield Stop("order-wrong-card", buyer.page)
    await buyer.pays_with(WITHOUT_FUNDS)
    await buyer.sees("The ticket is still yours to pay for.")
    yield Stop("order-declined", buyer.page)
    await buyer.opens(f"/orders/{buyer.order_id}?payment_method=pm_card_visa")
    await buyer.sees("Confirm your payment")
    yield Stop("order-confirm", buyer.page)

    await buyer.opens(f"/orders/{buyer.order_id}?paying={PydanticObjectId()}")
    await buyer.sees("Your payment may not have got through")
    yield Stop("order-payment-lost", buyer.page)

    await buyer.opens(f"/orders/{buyer.order_id}")
    await buyer.pays_and_stripe_falls_silent()
    await buyer.is_told("Checking your payment")
    yield Stop("order-checking", buyer.page)
    market.mend_stripe()
    await buyer.is_told("Paid")
    yield Stop("order-completed", buyer.page)
    await buyer.follows("Receipt")
    yield Stop("receipt", buyer.page)


async def not_paying(people: People) -> Stops:
    """Orders that come to nothing: one by way of the bank, and one whose time runs out."""
    market = people.market
    buyer = await people.somebody()
    await buyer.has_bought(market.offer("Hammer and Reed, Chapel Street, pew 9", 2700))
    await buyer.reserves(market.offer("An hour of Satie, solo piano", 5200))
    await buyer.pays_with(ASKS_AT_THE_BANK)
    await buyer.is_asked_by_the_bank()
    yield Stop("bank", buyer.page)
    await buyer.goes_back()
    await buyer.is_told("Waiting for you at your bank")
    yield Stop("order-at-the-bank", buyer.page)
    await buyer.opens(f"/orders/{buyer.order_id}?back=true")
    await buyer.is_told("Checking your payment")
    yield Stop("order-back-from-the-bank", buyer.page)
    await buyer.opens(f"/orders/{buyer.order_id}")
    await buyer.presses("Cancel the order")
    await buyer.is_told("Cancelled")
    yield Stop("order-cancelled", buyer.page)

    slow = await people.somebody(at=market.shop(**SHORT))
    order_id = await slow.has_reserved(market.offer("Open stage, Cellar Bar", 800))
    with market.frozen_worker():
        await slow.opens(f"/orders/{order_id}")
        await slow.is_told("Time is up")
        yield Stop("order-expiring", slow.page)
    await slow.is_told("Cancelled")
    yield Stop("order-expired", slow.page)
    await buyer.opens("/orders")
    yield Stop("orders", buyer.page)


async def paying_with_stripe(people: People) -> Stops:
    """The pages for real Stripe, with a stand-in for Stripe.js."""
    market = people.market
    stripe = FakeStripe()
    method = {"paymentMethod": {"id": "pm_card_authenticationRequired"}}
    stripe.answers["createPaymentMethod"] = lambda: method
    buyer = await people.somebody(at=market.shop(**REAL_STRIPE))
    await stripe.stand_in_on(buyer.page)
    await buyer.reserves(market.offer("Late Shift, The Boiler Room", 2200))
    await expect(buyer.pay_button).to_be_enabled()
    yield Stop("stripe-order", buyer.page)
    await buyer.pay_button.click()
    await buyer.is_told("Waiting for you at your bank")
    yield Stop("stripe-order-at-the-bank", buyer.page)


async def refusals(people: People) -> Stops:
    """Pages that say no, or sorry; and at first, that nothing is there yet."""
    database = f"apart_{uuid4().hex}"
    unlucky_shop = people.market.shop(MONGODB_DATABASE=database, **WITHOUT_TEMPORAL)
    unlucky = await people.somebody(at=unlucky_shop)
    await unlucky.opens("/")
    await unlucky.sees("Nothing is on sale yet.")
    yield Stop("browse-empty", unlucky.page)

    seller = await people.somebody("seller", at=unlucky_shop)
    ticket = await seller.has_listed()
    for path, status, name in (
        ("/nothing-is-here", "404 GET", "not-found"),
        (f"/orders/{PydanticObjectId()}", "404 GET", "order-not-found"),
        (f"{ticket.path}/edit", "403 GET", "not-yours"),
    ):
        people.watch.expect(status)
        await unlucky.opens(path)
        yield Stop(name, unlucky.page)

    people.watch.expect("403 POST")
    await unlucky.opens(ticket.path)
    await unlucky.main.locator("[name=csrf_token]").evaluate("token => { token.value = ''; }")
    await unlucky.presses("Reserve")
    await unlucky.sees("Try again")
    yield Stop("stale-form", unlucky.page)

    people.watch.expect("503 POST")
    await unlucky.opens(ticket.path)
    await unlucky.presses("Reserve")
    await unlucky.sees("Back in a moment")
    yield Stop("away", unlucky.page)

    people.watch.expect("500 GET")
    await unlucky.opens(f"/tickets/{await _broken_ticket(people, database)}")
    await unlucky.sees("Something went wrong")
    yield Stop("broken", unlucky.page)


ROUNDS: tuple[Round, ...] = (
    browsing,
    accounts,
    selling,
    paying,
    not_paying,
    paying_with_stripe,
    refusals,
)


async def _two(people: People) -> tuple[Person, Person]:
    return await people.somebody("seller"), await people.somebody("buyer")


async def _sends_unchecked(person: Person, **fields: str) -> None:
    """Fill in what the browser itself would not send."""
    await person.main.locator("form").evaluate("form => { form.noValidate = true; }")
    await person.fills_in(**fields)


async def _broken_ticket(people: People, database: str) -> PydanticObjectId:
    """A ticket that nothing can be made of, as only a bug could write it."""
    url = people.market.stack.environment["MONGODB_URL"]
    async with AsyncMongoClient[BSONDocument](url) as mongo:
        inserted = await mongo[database]["tickets"].insert_one({"title": "Half a ticket"})
    return PydanticObjectId(inserted.inserted_id)
