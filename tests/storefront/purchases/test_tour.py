"""A tour of all pages in all their states: each keeps the house rules, and no link leads astray."""

from datetime import timedelta
from urllib.parse import unquote, urlsplit

import pytest

from api.storefront.templating import TEMPLATES
from tests.api.conftest import list_ticket
from tests.api.tickets import SOME_ID
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import SITE, Browser, Page
from tests.storefront.house_rules import policy_of
from tests.storefront.purchases.shopping import (
    AUTHENTICATED,
    PUBLISHABLE_KEY,
    buy,
    id_of,
    pay,
    reserve,
    set_stripe,
    state_of,
)

STATES = {
    "payable",
    "expiring",
    "checking",
    "at-the-bank",
    "completed",
    "cancelled",
    "refunded",
}
HURRIED = timedelta(milliseconds=100)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The templates that pages are made of, as they are used."""
    seen: set[str] = set()
    get_template = TEMPLATES.get_template

    def note(name: str, *args: object, **settings: object) -> object:
        seen.add(name)
        return get_template(name, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(TEMPLATES, "get_template", note)
    return seen


async def crawl(browser: Browser, *starts: str) -> dict[str, Page]:
    """Every page that can be come to by links of ours; each answers 200."""
    pages: dict[str, Page] = {}
    waiting = [f"{SITE}{start}" for start in starts]
    while waiting:
        address = waiting.pop().partition("#")[0]
        if address in pages or not address.startswith(f"{SITE}/"):
            continue
        page = await browser.open(address)
        assert page.status == 200, f"{address}: {page.status}"
        pages[address] = page
        pages[page.url] = page
        waiting += page.links()
        waiting += [f"{SITE}{e['hx-get']}" for e in page.root.elements() if "hx-get" in e]
    return pages


async def every_state(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> dict[str, Page]:
    """An order in each state that lasts; the pages of the states."""
    market.set_rules(max_reservations=20, payment_attempts=2)
    await list_ticket(seller.http, title="On sale")
    completed = await buy(buyer, seller, title="Sold")
    refunded = await buy(buyer, seller, title="Given back")
    sale = await seller.open(f"/sales/{id_of(refunded)}")
    await sale.form("/refund").fill(ticket="relist").send()
    declined = await pay(await reserve(buyer, seller, title="Declined"), "pm_card_chargeDeclined")
    cancelled = await (await reserve(buyer, seller, title="Cancelled")).form("/cancel").send()
    bank = await reserve(buyer, seller, title="At the bank")
    await pay(bank, AUTHENTICATED, follow=False)
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path="/v1/payment_intents", times=None)
    checking = await pay(await reserve(buyer, seller, title="Being checked"))
    await reserve(other_buyer, seller, title="Held by another")
    pages = [completed, refunded, declined, cancelled, bank, checking]
    shown = [await page.reload() for page in pages]
    return {state_of(page): page for page in shown}


@pytest.mark.long
async def test_every_template_is_shown_and_every_link_of_every_page_leads_to_a_page(
    market: Marketplace,
    seller: Browser,
    buyer: Browser,
    other_buyer: Browser,
    visitor: Browser,
    rendered: set[str],
) -> None:
    states = await every_state(market, seller, buyer, other_buyer)
    assert states.keys() == STATES - {"expiring"}
    gone = await list_ticket(seller.http)
    await seller.http.delete(f"/api/tickets/{gone['id']}")

    visitors = await crawl(visitor, "/", "/?q=nothing", f"/tickets/{gone['id']}/card")
    sellers = await crawl(seller, "/", f"/listings/{gone['id']}/row")
    buyers = await crawl(buyer, "/", *(page.address for page in states.values()))
    await visitor.open("/nothing")
    await visitor.ask_for_part(f"/tickets/{gone['id']}")
    market.sandbox.clear_faults()

    assert rendered == set(TEMPLATES.list_templates())
    assert {urlsplit(a).path for a in visitors} >= {"/", "/signin", "/signup"}
    for kind in ("/edit", "/withdraw", "/row"):
        assert any(urlsplit(address).path.endswith(kind) for address in sellers), kind
    assert any("/sales/" in address for address in sellers)
    assert any(address.endswith("/receipt") for address in buyers)
    for page in visitors.values():
        for link in page.links():
            assert unquote(link).count("next=") <= 1, f"{link} is a way around in circles"


@pytest.mark.long
async def test_only_orders_let_stripe_or_its_sandbox_take_part(
    market: Marketplace, seller: Browser, buyer: Browser, other_buyer: Browser
) -> None:
    states = await every_state(market, seller, buyer, other_buyer)
    receipt = f"{states['completed'].address}/receipt"
    others = ["/", "/orders", "/sell", receipt, f"/orders/{SOME_ID}"]
    for page in states.values():
        policy = policy_of(page.response)
        assert policy["connect-src"] == policy["form-action"] == ["'self'", market.sandbox.url]
        assert policy["script-src"] == ["'self'"]
    for path in others:
        policy = policy_of((await buyer.open(path)).response)
        assert policy["connect-src"] == policy["form-action"] == ["'self'"]

    set_stripe(market, publishable_key=PUBLISHABLE_KEY)
    for page in states.values():
        policy = policy_of((await page.reload()).response)
        assert "https://js.stripe.com" in policy["script-src"]
        assert policy["connect-src"] == ["'self'", "https://api.stripe.com"]
        assert policy["form-action"] == ["'self'"]
    for path in others:
        assert "stripe" not in (await buyer.open(path)).response.headers["Content-Security-Policy"]
    market.sandbox.clear_faults()
