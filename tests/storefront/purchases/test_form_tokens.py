"""Forms that other sites, other sessions and other times send: none of them does anything.

The routes are read from the storefront itself, so a new form is tried as soon as there is one, and
fails here until it has a scene.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import pytest
from fastapi.routing import iter_route_contexts
from httpx import Cookies

from api.storefront import routes
from api.storefront.form_tokens import CSRF_FIELD
from tests.api.conftest import PASSWORD, current_user, list_ticket, sign_in, sign_up
from tests.purchases.marketplace import Marketplace
from tests.storefront.browser import SITE, Browser, Form, Page
from tests.storefront.conftest import make_account
from tests.storefront.purchases.shopping import buy, id_of, reserve
from ticketing.models import RevokedSession, User

VISITORS = ["/signin", "/signup"]
ROUTES = sorted(
    route.path or ""
    for route in iter_route_contexts(routes.router.routes)
    if "POST" in (route.methods or ())
)
FOREIGN = [
    "https://evil.example",
    "null",
    f"{SITE}.evil.example",
    f"{SITE}:8000",
    "http://127.0.0.1",
    "file://",
    "x",
]


@dataclass
class People:
    """Who takes part in a scene; the seller and the buyer are signed in."""

    seller: Browser
    buyer: Browser
    visitor: Browser


@pytest.fixture
def people(market: Marketplace, seller: Browser, buyer: Browser, visitor: Browser) -> People:
    return People(seller, buyer, visitor)


Scene = Callable[[People], Awaitable[Form]]


async def _sign_in(people: People) -> Form:
    await make_account(people.visitor.app, "ada@example.com")
    page = await people.visitor.open("/signin")
    return page.form("/signin").fill(email="ada@example.com", password=PASSWORD)


async def _sign_up(people: People) -> Form:
    page = await people.visitor.open("/signup")
    return page.form("/signup").fill(email="bob@example.com", password=PASSWORD)


async def _sign_out(people: People) -> Form:
    return (await people.seller.open("/sell")).form("/signout")


async def _sell(people: People) -> Form:
    return (await people.seller.open("/sell")).form("/sell").fill(title="Radiohead", price="25")


async def _edit(people: People) -> Form:
    ticket = await list_ticket(people.seller.http)
    page = await people.seller.open(f"/tickets/{ticket['id']}/edit")
    return page.form("/edit").fill(price="99")


async def _withdraw(people: People) -> Form:
    ticket = await list_ticket(people.seller.http)
    return (await people.seller.open(f"/tickets/{ticket['id']}/withdraw")).form("/withdraw")


async def _reserve(people: People) -> Form:
    ticket = await list_ticket(people.seller.http)
    return (await people.buyer.open(f"/tickets/{ticket['id']}")).form("/reserve")


async def _pay(people: People) -> Form:
    page = await reserve(people.buyer, people.seller)
    return page.form("/pay").forge(payment_method="pm_card_visa")


async def _cancel(people: People) -> Form:
    return (await reserve(people.buyer, people.seller)).form("/cancel")


async def _refund(people: People) -> Form:
    order = await buy(people.buyer, people.seller)
    return (await people.seller.open(f"/sales/{id_of(order)}")).form("/refund")


SCENES: dict[str, Scene] = {
    "/signin": _sign_in,
    "/signup": _sign_up,
    "/signout": _sign_out,
    "/sell": _sell,
    "/tickets/{ticket_id}/edit": _edit,
    "/tickets/{ticket_id}/withdraw": _withdraw,
    "/tickets/{ticket_id}/reserve": _reserve,
    "/orders/{order_id}/pay": _pay,
    "/orders/{order_id}/cancel": _cancel,
    "/sales/{order_id}/refund": _refund,
}


@pytest.mark.long
def test_every_form_has_a_scene() -> None:
    assert sorted(SCENES) == ROUTES


async def everything(market: Marketplace, browser: Browser) -> object:
    """All that a form could change: what is stored, and who is signed in."""
    users = [user.email async for user in User.find_all()]
    ended = await RevokedSession.count()
    return await market.written(), users, ended, await current_user(browser.http)


async def other_tokens(form: Form) -> list[str]:
    """Tokens that are none, or are for another browser or another time."""
    browser, right = form.page.browser, form.values[CSRF_FIELD]
    async with Browser(browser.app) as stranger:
        visitors = (await stranger.open("/signin")).form("/signin").values[CSRF_FIELD]
        await sign_up(stranger.http)
        strangers = (await stranger.open("/sell")).form("/sell").values[CSRF_FIELD]
    garbage = ["", "garbage", "é☃😀", "\0", right[:-1], f"{right}0", right.upper(), right * 500]
    return [strangers, visitors, *await tokens_of_other_sessions(browser), *garbage]


async def tokens_of_other_sessions(browser: Browser) -> list[str]:
    """The token of a form that the same person is shown in another browser."""
    user = await current_user(browser.http)
    if user is None:
        return []
    async with Browser(browser.app) as elsewhere:
        assert (await sign_in(elsewhere.http, user["email"])).status_code == 200
        return [(await elsewhere.open("/sell")).form("/sell").values[CSRF_FIELD]]


def assert_refused(sent: Page, words: str) -> None:
    assert (sent.status, sent.heading) == (403, "That is not allowed")
    assert words in sent.text
    assert "Set-Cookie" not in sent.response.headers


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES)
async def test_a_form_is_only_taken_from_the_page_that_was_shown_to_this_session(
    market: Marketplace, people: People, route: str
) -> None:
    form = await SCENES[route](people)
    browser, page = form.page.browser, form.page
    tokens = await other_tokens(form)
    before = await everything(market, browser)

    for other in (
        *(form.forge(**{CSRF_FIELD: token}) for token in tokens),
        form.without(CSRF_FIELD),
    ):
        assert other.values.get(CSRF_FIELD) != form.values[CSRF_FIELD]
        assert_refused(await other.send(), "This form is out of date")

    address = urljoin(page.url, form.element["action"])
    for origin in FOREIGN:
        sent = await browser.send(address, form.values, came_from=page.url, origin=origin)
        assert_refused(sent, "A page of another site may not act in your name.")

    kept = browser.http.cookies
    browser.http.cookies = Cookies()
    sent = await form.send(follow=False)
    if route in VISITORS:
        assert_refused(sent, "This form is out of date")
    else:
        assert sent.goes_to == f"/signin?next={quote(page.address)}"
    browser.http.cookies = kept

    assert await everything(market, browser) == before
    # The control: from the page itself it is taken, and does something.
    sent = await form.send()
    assert sent.status == 200, sent.text
    assert await everything(market, browser) != before
