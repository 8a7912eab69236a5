"""Somebody at a browser: what people do, and what they look for."""

import asyncio
import re
from collections.abc import Mapping
from uuid import uuid4

from playwright.async_api import APIResponse, Browser, Locator, Page, Route, expect

from tests.browser.cards import VISA
from tests.browser.market import Market, Ticket
from tests.browser.watch import Watch
from tests.waiting import eventually

PASSWORD = "correct horse battery"

LONG = 15_000
"""Milliseconds; only a failing test waits so long."""


class Person:
    """One tab of somebody's browser.

    Verbs in the present are done on the page; what somebody *has* done already, before the test
    begins, was done through the API.
    """

    def __init__(self, page: Page, email: str, market: Market, *, scripts: bool) -> None:
        self.page = page
        self.email = email
        self.market = market
        self._scripts = scripts
        self.main = page.locator("main")
        self.status = page.locator("#order .status, #ticket .status")
        self.countdown = page.locator("#countdown")
        self.announcer = page.locator("#announcer")

    # Going around

    async def opens(self, path: str) -> None:
        await self.page.goto(path)

    async def opens_another_tab(self, path: str | None = None) -> "Person":
        """The same person, in a second tab: where the first one is, unless told otherwise."""
        page = await self.page.context.new_page()
        tab = Person(page, self.email, self.market, scripts=self._scripts)
        await tab.opens(path or self.page.url)
        return tab

    async def goes_to(self, link: str) -> None:
        """By the navigation on top."""
        await self.page.locator("header").get_by_role("link", name=link, exact=True).click()

    async def hears_of_nothing(self) -> None:
        """From now on, pages that are opened get no news."""
        await self.page.route("**/api/tickets/events?**", lambda route: route.fulfill(status=204))

    async def follows(self, link: str) -> None:
        await self.main.get_by_role("link", name=link, exact=True).click()

    async def presses(self, button: str) -> None:
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def fills_in(self, **fields: str) -> None:
        """Type into the fields with these ids."""
        for field, text in fields.items():
            await self.page.locator(f"#{field}").fill(text)

    async def goes_back(self) -> None:
        await self.page.go_back()

    async def reloads(self) -> None:
        await self.page.reload()

    # Accounts

    async def signs_up(self) -> None:
        await self.goes_to("Sign up")
        await self._enters_account("Sign up")

    async def signs_up_to_reserve(self) -> None:
        """From the page of a ticket, and back to it."""
        await self.follows("Sign up")
        await self._enters_account("Sign up")

    async def signs_in(self) -> None:
        """On the page that asks for it."""
        await self._enters_account("Sign in")

    async def signs_out(self) -> None:
        await self.presses("Sign out")
        await self.sees("You are signed out.")

    async def _enters_account(self, button: str) -> None:
        await self.fills_in(email=self.email, password=PASSWORD)
        await self.presses(button)
        await self.is_signed_in()

    async def is_signed_in(self) -> None:
        await expect(self.page.locator(".who")).to_have_text(self.email)

    async def has_signed_up(self) -> None:
        user = {"email": self.email, "password": PASSWORD}
        await self._post("/api/users/signup", user)

    # Selling

    async def lists(self, title: str, price: str) -> Ticket:
        await self.goes_to("Sell")
        await self.fills_in(title=title, price=price)
        await self.presses("Put on sale")
        await self.sees("Your ticket is on sale.")
        return Ticket(_last_part(self.page.url), title)

    async def has_listed(self, title: str = "Front row, Friday", price: int = 2500) -> Ticket:
        listed = await self._post("/api/tickets", {"title": title, "price": price})
        return Ticket((await listed.json())["id"], title)

    async def reprices(self, ticket: Ticket, price: str) -> None:
        await self.opens(f"{ticket.path}/edit")
        await self.fills_in(price=price)
        await self.presses("Save")
        await self.sees("Your changes are saved.")

    async def withdraws(self, ticket: Ticket) -> None:
        await self.opens(f"{ticket.path}/withdraw")
        await self.presses("Withdraw")
        await self.sees("The ticket is withdrawn.")

    # Buying

    async def reserves(self, ticket: Ticket) -> str:
        """Press Reserve on the ticket's page, and come to the order's; its id."""
        await self.opens(ticket.path)
        await self.presses("Reserve")
        await self.is_told("Waiting for your payment")
        return self.order_id

    async def has_reserved(self, ticket: Ticket) -> str:
        reserved = await self._post("/api/orders", {"ticketId": ticket.id})
        return str((await reserved.json())["id"])

    async def has_bought(self, ticket: Ticket) -> str:
        order_id = await self.has_reserved(ticket)
        payment = {"orderId": order_id, "paymentMethod": "pm_card_visa"}
        await self._post("/api/payments", payment)
        return order_id

    async def waits_for_scripts(self) -> None:
        """Until the countdown runs; before, Pay sends the card as it does without scripts."""
        if self._scripts:
            await expect(self.countdown).to_have_text(re.compile(r"^\d+:\d\d$"))

    async def types_card(self, number: str = VISA) -> None:
        await self.waits_for_scripts()
        await self.fills_in(number=number, expiry="12 / 34", cvc="123")

    async def pays_with(self, number: str = VISA) -> None:
        await self.types_card(number)
        await self.pay_button.click()

    async def pays_and_stripe_falls_silent(self) -> None:
        """Stripe takes the card, and then answers nothing more until it is mended."""

        async def silence(route: Route) -> None:
            self.market.silence_stripe()
            await route.continue_()

        async def is_being_paid() -> bool:
            answer = await self.page.request.get(f"/api/orders/{order_id}")
            return bool((await answer.json())["status"] == "awaiting_payment")

        order_id = self.order_id
        await self.page.route("**/pay", silence, times=1)
        await self.pays_with(VISA)
        await eventually(is_being_paid)

    async def is_asked_by_the_bank(self) -> None:
        await expect(self.page).to_have_title("Approve your payment")

    @property
    def pay_button(self) -> Locator:
        return self.page.get_by_role("button", name=re.compile("^Pay"))

    @property
    def order_id(self) -> str:
        """Of the order whose page is shown."""
        found = re.search("/orders/([0-9a-f]{24})", self.page.url)
        assert found, self.page.url
        return found[1]

    # Seeing

    async def is_told(self, status: str, timeout: float = LONG) -> None:
        """The page of the ticket or the order says how it stands, within so many milliseconds."""
        await expect(self.status).to_have_text(status, timeout=timeout)

    async def sees(self, text: str) -> None:
        await expect(self.main).to_contain_text(text)

    async def does_not_see(self, text: str) -> None:
        await expect(self.main).not_to_contain_text(text)

    async def is_at(self, path: str) -> None:
        """The page's address, with its query, is this one."""
        await expect(self.page).to_have_url(path)

    def card(self, ticket: Ticket) -> Locator:
        """The ticket in a list."""
        return self.page.locator(f"#ticket-{ticket.id}")

    async def _post(self, path: str, body: Mapping[str, object]) -> APIResponse:
        answer = await self.page.request.post(path, data=dict(body))
        assert answer.ok, await answer.text()
        return answer


class People:
    """Makes people with a browser each, and watches all of their pages."""

    def __init__(self, browser: Browser, market: Market, *, pixels_per_point: int = 1) -> None:
        self.market = market
        self.watch = Watch(market.sandbox)
        self._browser = browser
        self._pixels_per_point = pixels_per_point

    async def visitor(
        self, name: str = "visitor", *, at: str | None = None, scripts: bool = True
    ) -> Person:
        """Somebody who is new here, at this shop of the market, or at the usual one."""
        context = await self._browser.new_context(
            base_url=at or self.market.url,
            java_script_enabled=scripts,
            device_scale_factor=self._pixels_per_point,
        )
        context.set_default_timeout(LONG)
        self.watch.over(context)
        email = f"{name}.{uuid4().hex[:8]}@example.com"
        return Person(await context.new_page(), email, self.market, scripts=scripts)

    async def somebody(
        self, name: str = "buyer", *, at: str | None = None, scripts: bool = True
    ) -> Person:
        """Somebody who has signed up."""
        person = await self.visitor(name, at=at, scripts=scripts)
        await person.has_signed_up()
        return person

    async def go_home(self) -> None:
        """Close every browser."""
        for context in self._browser.contexts:
            await context.close()


async def hold_until_all_have_pressed(address: str, *people: Person) -> None:
    """Keep back what their pages send to the address, until each of them has sent it."""
    pressed = asyncio.Barrier(len(people))

    async def wait_for_the_others(route: Route) -> None:
        await pressed.wait()
        await route.continue_()

    for person in people:
        await person.page.route(address, wait_for_the_others)


def _last_part(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
