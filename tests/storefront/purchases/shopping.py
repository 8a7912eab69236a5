"""What people do who buy: reserve, pay, go to their bank, and look how it stands."""

from pydantic import SecretStr

from tests.api.conftest import Json, list_ticket
from tests.purchases.marketplace import Marketplace, Person
from tests.resources import exchange
from tests.settings import WEBHOOK_SECRET
from tests.storefront.browser import Browser, Page
from tests.waiting import eventually
from ticketing.settings import STRIPE_API, StripeBrowserSettings

PUBLISHABLE_KEY = "pk_test_sandbox"

VISA = "4242 4242 4242 4242"
ASKS_THE_BANK = "4000 0027 6000 3184"

AUTHENTICATED = "pm_card_authenticationRequired"


async def reserve(buyer: Browser, seller: Browser, **offer: object) -> Page:
    """Reserve a new ticket of the seller's; the order's page."""
    ticket = await list_ticket(seller.http, **offer)  # type: ignore[arg-type] # title or price
    return await reserve_ticket(buyer, ticket)


async def reserve_ticket(buyer: Browser, ticket: Json) -> Page:
    page = await (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve").send()
    assert page.status == 200, page.text
    assert page.address.startswith("/orders/")
    return page


async def pay(page: Page, payment_method: str = "pm_card_visa", *, follow: bool = True) -> Page:
    """Do what the script does once the sandbox, or Stripe, has taken the card."""
    return await page.form("/pay").forge(payment_method=payment_method).send(follow=follow)


async def buy(buyer: Browser, seller: Browser, **offer: object) -> Page:
    """A new ticket, reserved and paid; the order's page."""
    page = await pay(await reserve(buyer, seller, **offer))
    assert status_of(page) == "Paid"
    return page


def status_of(page: Page) -> str:
    """How the order stands, as its page says it."""
    return page.root.one(id="order").one("span", class_="status").text


def state_of(page: Page) -> str:
    """How the order stands, as its page's scripts read it."""
    return page.root.one(id="order")["data-state"]


def id_of(page: Page) -> str:
    """The order's id."""
    return page.response.url.path.split("/")[2]


def order_of(page: Page) -> Json:
    """The order, as the people of the purchase tests take it."""
    return {"id": id_of(page), "ticketId": page.root.one(id="order")["data-ticket"]}


def person(browser: Browser) -> Person:
    """The same person, who asks the API directly."""
    return Person(browser.http)


async def comes_to(page: Page, status: str) -> Page:
    """The same page as soon as it says so; what it says until then is left to others."""

    async def reloaded() -> Page | None:
        now = await page.reload()
        return now if status_of(now) == status else None

    found = await eventually(reloaded)
    assert found is not None
    return found


def set_stripe(
    market: Marketplace, *, api_base: str = STRIPE_API, publishable_key: str | None = None
) -> None:
    """Let the pages take cards in another way, from the next request on."""
    stripe = StripeBrowserSettings(
        webhook_secret=SecretStr(WEBHOOK_SECRET),
        api_base=api_base,
        publishable_key=publishable_key,
    )
    market.settings = market.settings.model_copy(update={"stripe": stripe})
    exchange(market.app, settings=market.settings)
