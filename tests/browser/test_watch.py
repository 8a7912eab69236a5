"""The control for every other test here: what must not happen on a page is noticed."""

import pytest

from tests.browser.cards import VISA
from tests.browser.person import People
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("misdeed", "complaint"),
    [
        ("console.error('not found')", "console error: not found"),
        ("setTimeout(() => { throw new Error('a bug') })", "exception: a bug"),
        ("setTimeout('alert()')", "Content Security Policy"),
        ("fetch('http://127.0.0.1:1/').catch(() => {})", "Content Security Policy"),
        ("fetch('/nowhere')", "404 GET"),
        (f"fetch('/?number={VISA}')", "a card number was sent: GET"),
        (
            f"fetch('/', {{method: 'POST', body: new URLSearchParams({{n: '{VISA}'}})}})",
            "a card number was sent: POST",
        ),
    ],
)
async def test_a_misdeed_of_a_page_is_noticed(people: People, misdeed: str, complaint: str) -> None:
    visitor = await people.visitor()
    await visitor.opens("/signin")
    await visitor.page.evaluate(f"() => {{ {misdeed}; }}")
    await eventually(lambda: any(complaint in noticed for noticed in people.watch.complaints))
    people.watch.expect("")
