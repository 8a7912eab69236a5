"""How much a browser loads that has never been here."""

import pytest
from playwright.async_api import Browser, Request, expect

from tests.browser.person import People, Person

HEAVIEST = 100_000
"""Bytes of a page with everything that it needs, headers included."""

EVENTS = "/api/tickets/events"


@pytest.mark.long
async def test_no_page_is_heavy_on_a_first_visit(people: People, browser: Browser) -> None:
    seller, buyer = await people.somebody("seller"), await people.somebody("buyer")
    for number in range(24):
        free = await seller.has_listed(f"Full house, a title of the usual length, seat {number}")
    open_order = await buyer.has_reserved(await seller.has_listed())
    sold = await buyer.has_bought(await seller.has_listed())
    pages = [
        (seller, path)
        for path in (
            "/?q=full+house",
            free.path,
            "/sell",
            f"{free.path}/edit",
            f"{free.path}/withdraw",
            "/listings",
            f"/sales/{sold}",
        )
    ]
    pages += [(await people.visitor(), path) for path in ("/signin", "/signup")]
    pages += [
        (buyer, path)
        for path in (
            "/orders",
            f"/orders/{open_order}",
            f"/orders/{sold}",
            f"/orders/{sold}/receipt",
        )
    ]
    weights = {path: await _first_visit(browser, person, path) for person, path in pages}

    heaviest = max(weights, key=lambda path: weights[path])
    said = f"the heaviest page is {heaviest} with {weights[heaviest]:,} bytes"
    print(said)  # noqa: T201 - for whoever wants to know: pytest -rP
    assert weights[heaviest] <= HEAVIEST, said
    assert min(weights.values()) > 1_000, "something was not loaded, but kept"


async def _first_visit(browser: Browser, person: Person, path: str) -> int:
    """The bytes that come over the line when a browser without a cache opens the page."""
    context = await browser.new_context(
        base_url=person.market.url, storage_state=await person.page.context.storage_state()
    )
    requests: list[Request] = []
    context.on("requestfinished", lambda request: requests.append(request))
    page = await context.new_page()
    await page.goto(path, wait_until="load")
    await expect(page.locator("main")).to_be_visible()
    sizes = [await request.sizes() for request in requests if EVENTS not in request.url]
    await context.close()
    return sum(size["responseHeadersSize"] + size["responseBodySize"] for size in sizes)
