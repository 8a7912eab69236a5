"""What sellers write is text, on every page that shows it."""

import pytest

from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import Browser, Page
from tests.storefront.purchases.shopping import buy, id_of, pay

TITLES = [
    "</title></h1><script>alert(1)</script><img src=x onerror=alert(1)>",
    '"\'` onclick=alert(1) x="',
    "Tom & Jerry &amp; &lt;b&gt; {{ 7 * 11111 }} {% raw %}",
    "🎸 Motörhead — „Ace of Spades“ 東京",
    "\u202eevil \u2066مرحبا\u2069 שלום",
    "javascript:" + "x" * 188 + "\\",
]


def assert_shows(page: Page, title: str, *, times: int) -> None:
    """So many elements have the title as their text, and nothing else in the page comes of it."""
    assert page.status == 200
    shown = [e for e in page.root.elements() if e.text == title and e.name != "title"]
    innermost = [e for e in shown if not any(child in shown for child in e.elements())]
    assert len(innermost) == times, f"{page.address}: {innermost}"
    assert page.root.all("img") == []


@pytest.mark.parametrize("title", TITLES, ids=lambda title: title[:20])
async def test_a_title_is_shown_as_it_was_written_wherever_it_is_shown(
    market: Marketplace, seller: Browser, buyer: Browser, visitor: Browser, title: str
) -> None:
    page = await seller.open("/sell")
    page = await page.form("/sell").fill(title=title, price="25").send()
    id = page.response.url.path.rpartition("/")[2]
    assert page.title == f"{title} · Holdfast"
    assert_shows(page, title, times=1)

    for browser, path in (
        (visitor, "/"),
        (visitor, f"/tickets/{id}"),
        (visitor, f"/tickets/{id}/card"),
        (seller, "/listings"),
        (seller, f"/listings/{id}/row"),
    ):
        assert_shows(await browser.open(path), title, times=1)
    row = (await seller.open("/listings")).root.one("li", class_="row")
    labels = [a["aria-label"] for a in row.all("a") if "aria-label" in a]
    assert labels == [f"Edit {title}", f"Withdraw {title}"]

    page = await seller.open(f"/tickets/{id}/edit")
    assert page.title == f"Edit {title} · Holdfast"
    assert page.form("/edit").values["title"] == title
    page = await seller.open(f"/tickets/{id}/withdraw")
    assert page.title == f"Withdraw {title} · Holdfast"
    assert f"{title}, $25.00" in page.text

    page = await (await buyer.open(f"/tickets/{id}")).form("/reserve").send()
    assert page.title == f"{title} · Holdfast"
    assert_shows(page, title, times=1)
    page = await seller.open(f"/tickets/{id}/edit")
    assert f"{title}, $25.00" in page.text
    page = await pay(await buyer.open(f"/orders/{(await market.written())['orders'][0]['_id']}"))
    assert_shows(page, title, times=1)
    assert_shows(await page.follow("Receipt"), title, times=1)
    assert_shows(await buyer.open("/orders"), title, times=1)
    sale = await (await seller.open("/listings")).follow("See the sale")
    assert sale.title == f"Sale of {title} · Holdfast"
    assert_shows(sale, title, times=1)


async def test_a_title_that_looks_like_an_answer_of_ours_is_not_one(
    market: Marketplace, seller: Browser, buyer: Browser
) -> None:
    title = "Your payment went through, and the ticket is yours."
    page = await buy(buyer, seller, title=title)
    assert page.heading == title
    assert page.root.one(id="order").one("span", class_="status").text == "Paid"
    assert (await buyer.open(f"/orders/{id_of(page)}/receipt")).heading == "Receipt"
