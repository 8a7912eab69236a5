"""What is for sale: searched, filtered, sorted, page by page; and single tickets."""

from typing import Any

import pytest

from api.storefront.browsing import PAGE_SIZE
from tests.api.conftest import list_ticket
from tests.api.tickets import GONE, HELD, SOME_ID, hold, insert, ticket
from tests.storefront.browser import Browser, Page
from ticketing.models import Ticket


def titles(page: Page) -> list[str]:
    """The tickets of a list, in its order."""
    return [card.one("a").text for card in page.root.all("li", class_="card")]


def statuses(page: Page) -> list[str]:
    return [card.one("span", class_="status").text for card in page.root.all("li", class_="card")]


def empty(page: Page) -> str:
    """What a list says that shows nothing."""
    return page.root.one("p", class_="empty").text


async def every_page(browser: Browser, address: str) -> list[str]:
    """The titles of all pages of a list."""
    page = await browser.open(address)
    found = titles(page)
    while page.has_link("Next page"):
        page = await page.follow("Next page")
        assert page.has_link("First page")
        found += titles(page)
    return found


async def search(page: Page, **fields: str) -> Page:
    return await page.form("/").fill(**fields).send()


async def test_tickets_are_shown_newest_first_with_price_and_status(visitor: Browser) -> None:
    await insert(
        ticket(1, price=123_456),
        ticket(2, price=50, **HELD),
        ticket(3, price=5000, **GONE),
    )
    page = await visitor.open("/")
    assert titles(page) == ["Ticket 3", "Ticket 2", "Ticket 1"]
    assert statuses(page) == ["Sold", "Reserved", "Available"]
    prices = [p.text for p in page.root.all("p", class_="price")]
    assert prices == ["$50.00", "$0.50", "$1,234.56"]
    for card in page.root.all("li", class_="card"):
        opened = await visitor.open(card.one("a")["href"])
        assert opened.heading == card.one("a").text


async def test_a_market_without_tickets_says_so_and_asks_for_one(visitor: Browser) -> None:
    page = await visitor.open("/")
    assert empty(page) == "Nothing is on sale yet. Be the first to sell a ticket."
    assert (await page.follow("Be the first to sell a ticket.")).address == "/signin?next=/sell"


async def test_a_search_finds_titles_with_all_its_words_and_shows_what_was_typed(
    visitor: Browser,
) -> None:
    await insert(
        ticket(1, title="Radiohead, Berlin"),
        ticket(2, title="Radiohead, Lisbon"),
        ticket(3, title="Motörhead, Berlin"),
    )
    page = await search(await visitor.open("/"), q="BERLIN radiohead")
    assert titles(page) == ["Radiohead, Berlin"]
    assert page.form("/").values["q"] == "BERLIN radiohead"
    assert page.title == "BERLIN radiohead · Holdfast"
    assert titles(await search(page, q="motorhead")) == ["Motörhead, Berlin"]
    assert titles(await search(page, q="")) == [
        "Motörhead, Berlin",
        "Radiohead, Lisbon",
        "Radiohead, Berlin",
    ]
    nothing = await search(page, q="-Berlin $where")
    assert empty(nothing) == "No ticket is like that. Show all tickets."
    assert len(titles(await nothing.follow("Show all tickets."))) == 3


@pytest.mark.parametrize("nothing", ["   ", "\u3000", "\t"])
async def test_a_search_for_blanks_shows_everything(visitor: Browser, nothing: str) -> None:
    await insert(ticket(1))
    page = await search(await visitor.open("/"), q=nothing)
    assert titles(page) == ["Ticket 1"]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        ("25", "", ["50.00", "25.00"]),
        ("25.00", "25.00", ["25.00"]),
        (" 25 ", "$25", ["25.00"]),
        ("25.01", "", ["50.00"]),
        ("", "24.99", ["10.00"]),
        ("usd 10", "50 USD", ["50.00", "25.00", "10.00"]),
        ("", "1,000", ["50.00", "25.00", "10.00"]),
        ("", "0", []),
        ("50.01", "", []),
        ("", "999999999999.99", ["50.00", "25.00", "10.00"]),
    ],
)
async def test_prices_are_taken_as_people_type_them(
    visitor: Browser, low: str, high: str, found: list[str]
) -> None:
    await insert(
        *(ticket(n, title=f"{price}.00", price=100 * price) for n, price in enumerate([10, 25, 50]))
    )
    page = await search(await visitor.open("/"), min=low, max=high)
    assert (page.status, titles(page)) == (200, found)
    values = page.form("/").values
    assert (values["min"], values["max"]) == (low, high)


HOW_TO_WRITE = "Write an amount such as 25 or 25.00."
WHERE_THE_POINT_IS = "Write an amount such as 25 or 25.00, with a point before the decimals."


@pytest.mark.parametrize(
    ("low", "high", "errors"),
    [
        ("cheap", "", {"min": HOW_TO_WRITE}),
        ("25,00", "30,00", {"min": WHERE_THE_POINT_IS, "max": WHERE_THE_POINT_IS}),
        ("-5", "", {"min": HOW_TO_WRITE}),
        ("1e3", "", {"min": HOW_TO_WRITE}),
        ("25.001", "", {"min": HOW_TO_WRITE}),
        ("١٢", "", {"min": HOW_TO_WRITE}),
        ("", "9" * 16, {"max": "Write a smaller amount."}),
        ("30", "20", {"max": "The highest price is below the lowest."}),
        ("", "\0", {"max": HOW_TO_WRITE}),
    ],
)
async def test_what_is_no_price_is_said_beside_the_field_and_nothing_is_shown(
    visitor: Browser, low: str, high: str, errors: dict[str, str]
) -> None:
    await insert(ticket(1))
    page = await search(await visitor.open("/?q=ticket&show=available"), min=low, max=high)
    assert page.status == 422
    assert {name: page.error(name) for name in errors} == errors
    assert titles(page) == []
    assert empty(page) == " ".join(errors.values())
    values = page.form("/").values
    assert (values["min"], values["max"], values["q"]) == (low, high, "ticket")
    assert values["show"] == "available"


@pytest.mark.parametrize(
    ("show", "found"),
    [
        ("all", ["Ticket 3", "Ticket 2", "Ticket 1"]),
        ("available", ["Ticket 1"]),
        ("reserved", ["Ticket 2"]),
        ("sold", ["Ticket 3"]),
    ],
)
async def test_tickets_are_shown_by_what_can_be_done_with_them(
    visitor: Browser, show: str, found: list[str]
) -> None:
    await insert(ticket(1), ticket(2, **HELD), ticket(3, **GONE))
    page = await search(await visitor.open("/"), show=show)
    assert titles(page) == found
    assert page.form("/").values["show"] == show


@pytest.mark.parametrize(
    ("sort", "prices"),
    [
        ("-createdAt", ["$2.00", "$3.00", "$1.00"]),
        ("createdAt", ["$1.00", "$3.00", "$2.00"]),
        ("price", ["$1.00", "$2.00", "$3.00"]),
        ("-price", ["$3.00", "$2.00", "$1.00"]),
    ],
)
async def test_tickets_are_sorted(visitor: Browser, sort: str, prices: list[str]) -> None:
    await insert(ticket(1, price=100), ticket(2, price=300), ticket(3, price=200))
    page = await search(await visitor.open("/"), sort=sort)
    assert [p.text for p in page.root.all("p", class_="price")] == prices
    assert page.form("/").values["sort"] == sort


@pytest.mark.parametrize("sort", ["-createdAt", "createdAt", "price", "-price"])
async def test_pages_neither_skip_nor_repeat_while_tickets_come_and_go(
    visitor: Browser, sort: str
) -> None:
    there = await insert(*(ticket(n) for n in range(2 * PAGE_SIZE + 3)))
    page = await visitor.open(f"/?sort={sort}&q=ticket")
    found = titles(page)
    assert len(found) == PAGE_SIZE
    assert not page.has_link("First page")

    # Whatever is before the cursor does not move what is behind it.
    await Ticket.find({"title": {"$in": found[:5]}}).delete()
    await insert(*(ticket(n, price=p, title="new ticket") for n, p in ((-1, 1), (999, 999_999))))
    page = await page.follow("Next page")
    second = titles(page)
    page = await page.follow("Next page")
    third = titles(page)
    assert not page.has_link("Next page")
    assert page.form("/").values["sort"] == sort
    found += [title for title in second + third if title != "new ticket"]
    assert len(found) == len(set(found))
    assert set(found) == set(there)
    first = await page.follow("First page")
    assert first.form("/").values["q"] == "ticket"
    assert not first.has_link("First page")


async def test_as_many_tickets_as_a_page_holds_are_one_page(visitor: Browser) -> None:
    await insert(*(ticket(n) for n in range(PAGE_SIZE)))
    page = await visitor.open("/")
    assert len(titles(page)) == PAGE_SIZE
    assert not page.has_link("Next page")


async def test_another_search_begins_at_its_first_page(visitor: Browser) -> None:
    await insert(*(ticket(n) for n in range(PAGE_SIZE + 1)))
    page = await (await visitor.open("/")).follow("Next page")
    assert len(titles(page)) == 1
    page = await search(page, sort="price")
    assert (page.status, len(titles(page))) == (200, PAGE_SIZE)
    assert not page.has_link("First page")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=nonsense",
        "cursor=W10",
        "cursor=%00",
        f"cursor={'x' * 501}",
        "sort=title",
        "show=withdrawn",
        f"q={'x' * 201}",
    ],
)
async def test_a_question_that_no_form_of_ours_asks_gets_a_page_that_says_so(
    visitor: Browser, query: str
) -> None:
    page = await visitor.open(f"/?{query}")
    assert (page.status, page.heading) == (422, "That did not work")
    assert page.text.startswith("That did not work Some fields are missing or wrong.")
    assert (await page.follow("See what is on sale")).status == 200


async def test_a_cursor_of_another_list_is_refused(visitor: Browser) -> None:
    await insert(*(ticket(n) for n in range(PAGE_SIZE + 1)))
    address = (await visitor.open("/?sort=price")).link("Next page")
    assert (await visitor.open(address)).status == 200
    assert (await visitor.open(address.replace("sort=price", "sort=-price"))).status == 422


@pytest.mark.parametrize("path", ["/", "/orders", "/listings"])
async def test_what_others_have_added_to_an_address_keeps_nobody_from_the_page(
    seller: Browser, path: str
) -> None:
    page = await seller.open(f"{path}?utm_source=newsletter&fbclid=x&__proto__=y")
    assert page.status == 200


async def test_of_a_parameter_that_comes_twice_one_counts(visitor: Browser) -> None:
    await insert(ticket(1))
    page = await visitor.open("/?q=nothing&q=ticket&sort=price&sort=-price")
    assert (page.status, titles(page)) == (200, ["Ticket 1"])


# Single tickets


async def test_a_visitor_is_asked_to_sign_in_and_comes_back_to_the_ticket(
    visitor: Browser, seller: Browser
) -> None:
    listed = await list_ticket(seller.http, title="Radiohead", price=5000)
    page = await visitor.open(f"/tickets/{listed['id']}")
    assert (page.heading, page.title) == ("Radiohead", "Radiohead · Holdfast")
    assert page.text.startswith("Radiohead $50.00 Available Listed on ")
    assert not page.has_form("/reserve")
    for way_in in ("Sign in to reserve", "Sign up"):
        assert page.link(way_in).endswith(f"?next=/tickets/{listed['id']}")


async def test_somebody_else_who_is_signed_in_can_reserve_it(
    seller: Browser, buyer: Browser
) -> None:
    listed = await list_ticket(seller.http)
    page = await buyer.open(f"/tickets/{listed['id']}")
    assert page.form("/reserve").element["action"] == f"/tickets/{listed['id']}/reserve"
    assert not page.has_link("Edit")


async def test_its_seller_can_change_it_and_not_reserve_it(seller: Browser) -> None:
    listed = await list_ticket(seller.http)
    page = await seller.open(f"/tickets/{listed['id']}")
    assert "This is your ticket." in page.text
    assert (page.has_link("Edit"), page.has_link("Withdraw")) == (True, True)
    assert not page.has_form("/reserve")
    (card,) = (await seller.open("/")).root.all("li", class_="card")
    assert card.one("span", class_="yours").text == "Yours"


@pytest.mark.parametrize(
    ("is_sold", "status", "to_all", "to_its_seller"),
    [
        (
            False,
            "Reserved",
            "Somebody is buying this ticket.",
            "A buyer has reserved it, so it cannot be changed now.",
        ),
        (True, "Sold", "This ticket is gone.", "You sold this ticket."),
    ],
)
async def test_a_ticket_that_is_held_says_so_and_offers_nothing(
    visitor: Browser,
    seller: Browser,
    buyer: Browser,
    is_sold: bool,
    status: str,
    to_all: str,
    to_its_seller: str,
) -> None:
    listed = await list_ticket(seller.http)
    await hold(listed, sold=is_sold)
    for person, words in ((visitor, to_all), (buyer, to_all), (seller, to_its_seller)):
        page = await person.open(f"/tickets/{listed['id']}")
        assert page.root.one("article").one("span", class_="status").text == status
        assert words in page.text
        assert not page.has_form("/reserve")
        assert (page.has_link("Edit"), page.has_link("Withdraw")) == (False, False)
        assert not page.has_link("Sign in to reserve")


@pytest.mark.parametrize("id", [SOME_ID, "x", "../../etc/passwd", "%00", "0" * 25])
async def test_a_ticket_that_is_not_there_is_a_page(visitor: Browser, id: str) -> None:
    page = await visitor.open(f"/tickets/{id}")
    assert (page.status, page.heading) == (404, "There is nothing here")


# Parts of lists, which a page asks for when a ticket changes


@pytest.mark.parametrize("held", [{}, HELD, GONE], ids=["available", "reserved", "sold"])
async def test_a_card_is_the_same_alone_as_in_its_list(
    visitor: Browser, held: dict[str, Any]
) -> None:
    await insert(ticket(1, title='Row "A" & <b>', **held))
    (in_list,) = (await visitor.open("/")).root.all("li", class_="card")
    answer = await visitor.ask_for_part(in_list["hx-get"])
    page = await visitor.open(in_list["hx-get"])
    (alone,) = page.root.all("li")
    assert answer.status_code == 200
    assert answer.text == page.response.text
    assert (alone.attributes, alone.text) == (in_list.attributes, in_list.text)
    assert [repr(e) for e in alone.elements()] == [repr(e) for e in in_list.elements()]


async def test_the_card_of_a_withdrawn_ticket_takes_its_place_and_says_so(
    visitor: Browser, seller: Browser
) -> None:
    listed = await list_ticket(seller.http)
    (card,) = (await visitor.open("/")).root.all("li", class_="card")
    await seller.http.delete(f"/api/tickets/{listed['id']}")
    gone = (await visitor.open(card["hx-get"])).root.one("li")
    assert gone["id"] == card["id"]
    assert gone.text == "This ticket was withdrawn."
    assert "hx-get" not in gone  # nothing more will happen to it
    assert "data-ticket" not in gone


async def test_pages_say_from_where_on_their_changes_are_told(
    visitor: Browser, seller: Browser
) -> None:
    listed = await list_ticket(seller.http)
    for browser, path, part in (
        (visitor, "/", "tickets"),
        (visitor, f"/tickets/{listed['id']}", "ticket"),
        (seller, "/listings", "listings"),
    ):
        page = await browser.open(path)
        assert page.root.one(id=part)["data-position"], path
        assert page.root.one(id=part)["hx-get"] == path
