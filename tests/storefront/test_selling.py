"""Listing tickets, and changing and withdrawing what one has listed."""

import asyncio

import pytest
from beanie import PydanticObjectId

from api.storefront.selling import PAGE_SIZE
from tests.api.conftest import current_user, list_ticket
from tests.api.tickets import SOME_ID, hold, insert, ticket
from tests.storefront.browser import Browser, Page
from ticketing.models import Ticket

HOW_TO_WRITE = "Write an amount such as 25 or 25.00."
RESERVED = (
    "A buyer has reserved this ticket. It can be changed again if the buyer does not pay in time."
)
SOLD = "This ticket is sold, and cannot be changed any more."
CHANGED_ELSEWHERE = "You have changed this ticket elsewhere. This is how it is now."

PRICES = [
    ("25", 2500),
    (" 25.00 ", 2500),
    ("$25", 2500),
    ("25 usd", 2500),
    ("1,250", 125_000),
    ("0.50", 50),
    ("999999.99", 99_999_999),
]
NO_PRICES = [
    ("", "Fill this in."),
    ("   ", "Fill this in."),
    ("free", HOW_TO_WRITE),
    ("25,00", "Write an amount such as 25 or 25.00, with a point before the decimals."),
    ("-25", HOW_TO_WRITE),
    ("25.001", HOW_TO_WRITE),
    ("0.49", "The lowest price is $0.50."),
    ("0", "The lowest price is $0.50."),
    ("1000000", "The highest price is $999,999.99."),
    ("9" * 40, "Write a smaller amount."),
    ("<b>1</b>", HOW_TO_WRITE),
]
NO_TITLES = [
    ("", "Fill this in."),
    ("   ", "Fill this in."),
    ("x" * 201, "Use at most 200 characters."),
    ("two\nlines", "This must not contain control characters or line breaks."),
    ("a\x00b", "This must not contain control characters or line breaks."),
]


async def offer(browser: Browser, title: str, price: str) -> Page:
    return await (await browser.open("/sell")).form("/sell").fill(title=title, price=price).send()


async def stored() -> list[tuple[str, int, int]]:
    """Title, price and version of every ticket."""
    return [(t.title, t.price, t.version) async for t in Ticket.find_all()]


async def test_what_one_offers_is_on_sale_at_once(seller: Browser, visitor: Browser) -> None:
    page = await offer(seller, " Radiohead, Berlin ", "25")
    (listed,) = await Ticket.find_all().to_list()
    assert page.way[0].headers["Location"] == f"/tickets/{listed.id}?done=listed"
    assert (page.notice, page.heading) == ("Your ticket is on sale.", "Radiohead, Berlin")
    assert (listed.price, listed.currency) == (2500, "usd")
    user = await current_user(seller.http)
    assert user is not None
    assert str(listed.user_id) == user["id"]
    found = await visitor.open("/")
    assert found.root.one("li", class_="card").one("a").text == "Radiohead, Berlin"


async def test_only_who_has_done_it_is_told_what_was_done(
    seller: Browser, visitor: Browser, buyer: Browser
) -> None:
    page = await offer(seller, "Radiohead", "25")
    for other in (visitor, buyer):
        # The address is passed on, as it stands in the address bar.
        assert (await other.open(page.address)).notice == ""


@pytest.mark.parametrize(("price", "amount"), PRICES)
async def test_a_price_is_taken_as_people_type_it(seller: Browser, price: str, amount: int) -> None:
    assert (await offer(seller, "Radiohead", price)).status == 200
    assert await stored() == [("Radiohead", amount, 1)]


@pytest.mark.parametrize(("price", "error"), NO_PRICES)
async def test_what_is_no_price_is_said_beside_it_and_nothing_is_lost(
    seller: Browser, price: str, error: str
) -> None:
    page = await offer(seller, "Radiohead", price)
    assert (page.status, page.address) == (422, "/sell")
    assert (page.error("title"), page.error("price")) == ("", error)
    values = page.form("/sell").values
    assert (values["title"], values["price"]) == ("Radiohead", price)
    assert await stored() == []
    assert (await page.form("/sell").fill(price="25").send()).notice == "Your ticket is on sale."


@pytest.mark.parametrize(("title", "error"), NO_TITLES)
async def test_what_is_no_title_is_said_beside_it(seller: Browser, title: str, error: str) -> None:
    page = await offer(seller, title, "much")
    assert page.status == 422
    assert (page.error("title"), page.error("price")) == (error, HOW_TO_WRITE)
    assert await stored() == []


async def test_a_form_that_lacks_its_fields_is_shown_again(seller: Browser) -> None:
    form = (await seller.open("/sell")).form("/sell").without("title").without("price")
    page = await form.send()
    assert page.status == 422
    assert (page.error("title"), page.error("price")) == ("Fill this in.", "Fill this in.")


# Editing


@pytest.mark.parametrize(
    ("currency", "hint"), [("usd", "Such as 25 or 25.00."), ("jpy", "Such as 2500.")]
)
async def test_the_price_field_suggests_what_its_currency_takes(
    seller: Browser, currency: str, hint: str
) -> None:
    user = await current_user(seller.http)
    assert user is not None
    offered = ticket(1, currency=currency, user_id=PydanticObjectId(user["id"]))
    await insert(offered)
    found = await Ticket.find_one()
    assert found is not None
    page = await seller.open(f"/tickets/{found.id}/edit")
    assert page.root.one(id="price-hint").text == hint


async def test_an_edit_begins_with_what_the_ticket_is_and_changes_it(seller: Browser) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=123_456)
    page = await (await seller.open(f"/tickets/{listed['id']}")).follow("Edit")
    form = page.form("/edit")
    assert form.values["title"] == "Radiohead"
    assert form.values["price"] == "1234.56"
    unchanged = await form.send()
    assert unchanged.notice == "Your changes are saved."
    assert await stored() == [("Radiohead", 123_456, 2)]

    page = await unchanged.follow("Edit")
    page = await page.form("/edit").fill(title="Radiohead, row 1", price="99.50").send()
    assert (page.status, page.heading) == (200, "Radiohead, row 1")
    assert await stored() == [("Radiohead, row 1", 9950, 3)]


async def test_an_edit_that_is_wrong_keeps_what_was_typed_and_the_version_it_builds_on(
    seller: Browser,
) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    page = await seller.open(f"/tickets/{listed['id']}/edit")
    page = await page.form("/edit").fill(title="", price="0.10").send()
    assert page.status == 422
    assert page.error("title") == "Fill this in."
    assert page.error("price") == "The lowest price is $0.50."
    values = page.form("/edit").values
    assert (values["title"], values["price"], values["version"]) == ("", "0.10", "1")
    # Meanwhile another tab changes it; the mistake in this one makes it no newer.
    await seller.http.put(f"/api/tickets/{listed['id']}", json={"title": "x", "price": 100})
    page = await page.form("/edit").fill(title="Radiohead", price="60").send()
    assert (page.status, page.alert) == (412, CHANGED_ELSEWHERE)
    assert await stored() == [("x", 100, 2)]


async def test_of_two_tabs_that_edit_the_second_sees_what_the_first_has_made_of_it(
    seller: Browser,
) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    first, second = [await seller.open(f"/tickets/{listed['id']}/edit") for _ in range(2)]
    await first.form("/edit").fill(title="From the first", price="60").send()
    page = await second.form("/edit").fill(title="From the second", price="70").send()
    assert (page.status, page.alert) == (412, CHANGED_ELSEWHERE)
    assert page.form("/edit").values["title"] == "From the first"
    assert await stored() == [("From the first", 6000, 2)]
    page = await page.form("/edit").fill(title="From the second").send()
    assert page.notice == "Your changes are saved."
    assert await stored() == [("From the second", 6000, 3)]


@pytest.mark.parametrize("version", ["", "0", "2", "-1", "x", "1.0", "9" * 30, "٧", "²"])
@pytest.mark.parametrize("action", ["edit", "withdraw"])
async def test_a_version_that_nobody_was_shown_changes_nothing(
    seller: Browser, action: str, version: str
) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    form = (await seller.open(f"/tickets/{listed['id']}/{action}")).form(f"/{action}")
    if action == "edit":
        form = form.fill(title="Another")
    page = await form.forge(version=version).send()
    assert (page.status, page.alert) == (412, CHANGED_ELSEWHERE)
    assert (await form.without("version").send()).status == 412
    assert await stored() == [("Radiohead", 5000, 1)]


@pytest.mark.parametrize(("is_sold", "words"), [(False, RESERVED), (True, SOLD)])
@pytest.mark.parametrize("action", ["edit", "withdraw"])
async def test_what_an_order_holds_is_not_changed_and_says_why(
    seller: Browser, action: str, is_sold: bool, words: str
) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    form = (await seller.open(f"/tickets/{listed['id']}/{action}")).form(f"/{action}")
    await hold(listed, sold=is_sold)

    page = await form.send()
    assert (page.status, page.alert) == (409, words)
    assert not page.has_form(f"/{action}")
    assert (await page.follow("Back to my listings")).status == 200
    opened = await seller.open(f"/tickets/{listed['id']}/{action}")
    assert opened.status == 200
    assert opened.root.one("p", class_="alert").text
    assert not opened.has_form(f"/{action}")
    assert await stored() == [("Radiohead", 5000, 1)]


@pytest.mark.parametrize("action", ["edit", "withdraw"])
async def test_somebody_elses_ticket_is_nobodys_to_change(
    seller: Browser, buyer: Browser, action: str
) -> None:
    listed = await list_ticket(seller.http)
    own = await list_ticket(buyer.http, title="Own", price=100)
    opened = await buyer.open(f"/tickets/{listed['id']}/{action}")
    form = (await buyer.open(f"/tickets/{own['id']}/{action}")).form(f"/{action}")
    sent = await buyer.send(f"/tickets/{listed['id']}/{action}", form.values)
    for page in (opened, sent):
        assert (page.status, page.heading) == (403, "That is not allowed")
        assert "Only the seller of a ticket may change it." in page.text
    assert ("Radiohead, Berlin", 5000, 1) in await stored()


@pytest.mark.parametrize("id", [SOME_ID, "x"])
@pytest.mark.parametrize("action", ["edit", "withdraw"])
async def test_a_ticket_that_is_gone_cannot_be_changed(
    seller: Browser, action: str, id: str
) -> None:
    own = await list_ticket(seller.http)
    form = (await seller.open(f"/tickets/{own['id']}/{action}")).form(f"/{action}")
    assert (await seller.open(f"/tickets/{id}/{action}")).status == 404
    page = await seller.send(f"/tickets/{id}/{action}", form.values)
    # Withdrawn already, as by pressing twice, is what was wanted.
    gone = (404, "There is nothing here")
    assert (page.status, page.heading) == (gone if action == "edit" else (200, "My listings"))


# Withdrawing


async def test_a_withdrawal_is_asked_about_first_and_can_be_left(seller: Browser) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    page = await (await seller.open("/listings")).follow("Withdraw")
    assert "Radiohead, $50.00" in page.text
    assert "That cannot be undone" in page.text
    kept = await page.follow("Keep it on sale")
    assert kept.address == f"/tickets/{listed['id']}"
    assert len(await stored()) == 1

    page = await page.form("/withdraw").send()
    assert (page.address, page.notice) == ("/listings?done=withdrawn", "The ticket is withdrawn.")
    assert await stored() == []
    # Pressed twice: it is gone.
    again = await seller.open(f"/tickets/{listed['id']}/withdraw")
    assert again.status == 404


async def test_a_withdrawal_of_what_has_changed_meanwhile_asks_again(seller: Browser) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    page = await seller.open(f"/tickets/{listed['id']}/withdraw")
    await seller.http.put(f"/api/tickets/{listed['id']}", json={"title": "Dearer", "price": 9000})
    page = await page.form("/withdraw").send()
    assert (page.status, page.alert) == (412, CHANGED_ELSEWHERE)
    assert "Dearer, $90.00" in page.text
    assert (await page.form("/withdraw").send()).notice == "The ticket is withdrawn."


# My listings


async def _listings(seller: Browser, number: int) -> None:
    user = await current_user(seller.http)
    assert user is not None
    await insert(*(ticket(n, user_id=PydanticObjectId(user["id"])) for n in range(number)))
    await insert(ticket(1000, title="somebody else's"))


def titles(page: Page) -> list[str]:
    """The listings of a page, in its order."""
    return [row.all("a")[0].text for row in page.root.all("li", class_="row")]


async def test_ones_listings_are_ones_own_newest_first_page_by_page(seller: Browser) -> None:
    await _listings(seller, PAGE_SIZE + 2)
    page = await seller.open("/listings")
    first = titles(page)
    assert first == [f"Ticket {n}" for n in range(PAGE_SIZE + 1, 1, -1)]
    page = await page.follow("Next page")
    assert titles(page) == ["Ticket 1", "Ticket 0"]
    assert not page.has_link("Next page")
    assert titles(await page.follow("First page")) == first


async def test_who_has_listed_nothing_is_told_how(seller: Browser) -> None:
    page = await seller.open("/listings")
    assert page.root.one("p", class_="empty").text == (
        "You have not listed anything yet. Sell a ticket."
    )
    assert (await page.follow("Sell a ticket.")).address == "/sell"


@pytest.mark.parametrize("cursor", ["nonsense", "x" * 501])
async def test_a_cursor_that_is_none_is_a_page(seller: Browser, cursor: str) -> None:
    page = await seller.open(f"/listings?cursor={cursor}")
    assert (page.status, page.heading) == (422, "That did not work")


async def test_the_cursor_of_somebody_elses_listings_is_refused(
    seller: Browser, buyer: Browser
) -> None:
    await _listings(seller, PAGE_SIZE + 1)
    address = (await seller.open("/listings")).link("Next page")
    assert (await seller.open(address)).status == 200
    assert (await buyer.open(address)).status == 422


async def test_each_listing_offers_what_can_be_done_with_it(seller: Browser) -> None:
    for title in ("On sale", "Held", "Gone"):
        listed = await list_ticket(seller.http, title=title)
        if title != "On sale":
            order_id = await hold(listed, sold=title == "Gone")
    page = await seller.open("/listings")
    offers = {}
    for row in page.root.all("li", class_="row"):
        link, *buttons = row.all("a")
        offers[link.text] = [(button.text, button["aria-label"]) for button in buttons]
        assert (await seller.open(link["href"])).heading == link.text
    assert offers == {
        "On sale": [("Edit", "Edit On sale"), ("Withdraw", "Withdraw On sale")],
        "Held": [],
        "Gone": [("See the sale", "See the sale of Gone")],
    }
    assert page.link("See the sale").endswith(f"/sales/{order_id}")


@pytest.mark.parametrize("held", [None, False, True])
async def test_a_row_is_the_same_alone_as_in_its_list(
    seller: Browser, buyer: Browser, held: bool | None
) -> None:
    listed = await list_ticket(seller.http, title='Row "A" & <b>')
    if held is not None:
        await hold(listed, sold=held)
    row = (await seller.open("/listings")).root.one("li", class_="row")
    alone = (await seller.open(row["hx-get"])).root.one("li")
    assert (alone.attributes, alone.text) == (row.attributes, row.text)
    assert [repr(e) for e in alone.elements()] == [repr(e) for e in row.elements()]
    assert (await buyer.open(row["hx-get"])).status == 403


async def test_the_row_of_a_ticket_that_was_withdrawn_says_so(seller: Browser) -> None:
    await list_ticket(seller.http)
    page = await seller.open("/listings")
    row = page.root.one("li", class_="row")
    await (await page.follow("Withdraw")).form("/withdraw").send()
    gone = (await seller.open(row["hx-get"])).root.one("li")
    assert (gone["id"], gone.text) == (row["id"], "This ticket was withdrawn.")


# Pressing twice


async def test_a_form_that_is_sent_twice_lists_one_ticket(seller: Browser) -> None:
    form = (await seller.open("/sell")).form("/sell").fill(title="Radiohead", price="25")

    first, second = await form.send(), await form.send()

    assert first.address == second.address
    assert await stored() == [("Radiohead", 2500, 1)]


async def test_a_form_that_was_changed_before_it_was_sent_again_lists_another(
    seller: Browser,
) -> None:
    form = (await seller.open("/sell")).form("/sell").fill(title="Radiohead", price="25")
    await form.send()
    await form.fill(title="Björk").send()

    assert sorted(await stored()) == [("Björk", 2500, 1), ("Radiohead", 2500, 1)]


async def test_the_same_edit_twice_is_saved_once(seller: Browser) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    form = (await seller.open(f"/tickets/{listed['id']}/edit")).form("/edit").fill(price="60")

    for page in (await form.send(), await form.send()):
        assert page.notice == "Your changes are saved."
    assert await stored() == [("Radiohead", 6000, 2)]


async def test_a_form_is_ones_own_and_sent_at_the_same_instant_lists_one_ticket_too(
    seller: Browser, buyer: Browser
) -> None:
    form = (await seller.open("/sell")).form("/sell").fill(title="Radiohead", price="25")
    pages = await asyncio.gather(*(form.send() for _ in range(3)))
    assert len({page.address for page in pages}) == 1
    assert await Ticket.count() == 1
    # Somebody else's form is another one, whatever it calls itself; and nameless ones are many.
    others = (await buyer.open("/sell")).form("/sell").fill(title="Radiohead", price="25")
    await others.forge(form_id=form.values["form_id"]).send()
    assert await Ticket.count() == 2
    for nameless in (form.without("form_id"), form.forge(form_id="")):
        await nameless.send()
    assert await Ticket.count() == 4


async def test_a_mistake_does_not_make_another_form_of_it(seller: Browser) -> None:
    form = (await offer(seller, "Radiohead", "free")).form("/sell").fill(price="25")
    for _ in range(2):
        assert (await form.send()).notice == "Your ticket is on sale."
    assert await Ticket.count() == 1
