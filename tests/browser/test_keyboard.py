"""Everything can be reached and done with a keyboard, and one sees where one is."""

import pytest

from tests.browser.cards import VISA
from tests.browser.keyboard import Keyboard
from tests.browser.market import Ticket
from tests.browser.person import PASSWORD, People


@pytest.mark.long
async def test_a_ticket_is_bought_with_the_keyboard_alone(people: People, ticket: Ticket) -> None:
    buyer = await people.visitor("buyer")
    keyboard = Keyboard(buyer.page)
    await buyer.opens("/")
    await keyboard.tab_to("Sign up")
    await keyboard.press("Enter")
    await buyer.sees("Already have an account?")

    await keyboard.tab_to("E-mail")
    await keyboard.type(buyer.email)
    await keyboard.tab_to("Password")
    await keyboard.type(PASSWORD)
    await keyboard.press("Enter")
    await buyer.is_signed_in()

    await buyer.opens(ticket.path)
    await keyboard.tab_to("Reserve")
    await keyboard.press("Enter")
    await buyer.is_told("Waiting for your payment")

    await buyer.waits_for_scripts()
    await keyboard.tab_to("Card number")
    await keyboard.type(VISA)
    await keyboard.tab_to("Expiry date")
    await keyboard.type("12/34")
    await keyboard.tab_to("Security code")
    await keyboard.type("123")
    await keyboard.tab_to("Pay $25.00")
    await keyboard.press("Space")
    await buyer.is_told("Paid")

    await keyboard.tab_to("Receipt")
    await keyboard.press("Enter")
    await buyer.sees("$25.00 USD")


@pytest.mark.long
async def test_the_first_key_leads_past_the_navigation(people: People, ticket: Ticket) -> None:
    visitor = await people.visitor()
    keyboard = Keyboard(visitor.page)
    await visitor.opens(ticket.path)
    assert await keyboard.tab() == "Skip to the content"
    await keyboard.press("Enter")

    assert await keyboard.tab() == "Sign in to reserve"


@pytest.mark.long
async def test_wherever_tab_stops_the_focus_is_seen(people: People, ticket: Ticket) -> None:
    buyer = await people.somebody()
    keyboard = Keyboard(buyer.page)
    order_id = await buyer.has_reserved(ticket)
    navigation = ["Skip to the content", "Holdfast", "Browse", "Sell", "My orders", "My listings"]
    for path in ("/?q=front+row", "/sell", f"/orders/{order_id}"):
        await buyer.opens(path)
        stops = await keyboard.tab_through()
        assert stops[:7] == [*navigation, "Sign out"]
        assert len(stops) >= 10
