"""What comes with an address is text, wherever a page shows it."""

from urllib.parse import quote

import pytest
from beanie import PydanticObjectId

from api.resources import resources_of
from tests.api.conftest import Json, current_user, list_ticket
from tests.storefront.browser import Browser, Page
from ticketing.clock import utc_now
from ticketing.models import User

MARKUP = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '" onfocus=alert(1) autofocus x="',
    "' onfocus='alert(1)",
    "</title><script>alert(1)</script>",
    "</textarea></noscript><svg/onload=alert(1)>",
    "{{ 7 * 11111 }} {% raw %} ${7*11111} #{7*11111}",
    "&lt;script&gt; &amp; &#x3c;",
    "javascript:alert(1)",
    "\u202e\u2066evil\u0000\ufffe",
    "😀 €\u00a0ä",
]


def assert_is_text(page: Page, text: str) -> None:
    """No element comes of it; that none is run is a house rule."""
    assert page.root.all("img") == []
    assert [e for e in page.root.elements() if "autofocus" in e] == []
    assert "77777" not in page.text.replace(text, "")
    if "<" in text:
        assert text not in page.response.text


@pytest.mark.long
@pytest.mark.parametrize(
    "path",
    [
        "/?q={}",
        "/?min={}",
        "/?max={}",
        "/?done={}",
        "/?cursor={}",
        "/?sort={}",
        "/?{}=x",
        "/signin?next={}",
        "/signin?next=/{}",
        "/signup?next=/{}",
        "/tickets/{}",
        "/tickets/{}/card",
        "/orders/{}",
        "/nothing/{}",
        "/nothing?x={}",
    ],
)
async def test_an_address_is_shown_as_text(visitor: Browser, seller: Browser, path: str) -> None:
    for text in MARKUP:
        for browser in (visitor, seller):
            page = await browser.open(path.format(quote(text, safe="")))
            if page.root.all("html"):
                assert_is_text(page, text)


@pytest.mark.long
@pytest.mark.parametrize("text", MARKUP)
async def test_what_was_typed_comes_back_as_it_was(
    visitor: Browser, seller: Browser, text: str
) -> None:
    for name in ("q", "min", "max"):
        page = await (await visitor.open("/")).form("/").fill(**{name: text}).send()
        assert page.form("/").values[name] == text
        assert_is_text(page, text)
    page = await visitor.open("/signin")
    page = await page.form("/signin").fill(email=text, password="x").send()
    assert page.form("/signin").values["email"] == text
    assert_is_text(page, text)
    page = await seller.open("/sell")
    page = await page.form("/sell").fill(title=text, price=text).send()
    values = page.form("/sell").values
    assert (values["title"], values["price"]) == (text, text)
    assert_is_text(page, text)


@pytest.mark.long
@pytest.mark.parametrize("text", MARKUP)
async def test_a_forged_field_of_an_edit_comes_back_as_text(seller: Browser, text: str) -> None:
    listed = await list_ticket(seller.http)
    form = (await seller.open(f"/tickets/{listed['id']}/edit")).form("/edit")
    page = await form.forge(version=text, csrf_token=form.values["csrf_token"], title="").send()
    assert page.status == 422
    assert page.form("/edit").values["version"] == text
    assert_is_text(page, text)


@pytest.mark.long
@pytest.mark.parametrize(
    "email",
    [
        "o'brien&sons@example.com",
        "a+b=c/d{e}|f~g@example.com",
        "`backticks`@example.com",
        "ünïcödé@exämple.com",
        "x" * 60 + "@" + "y" * 60 + ".example.com",
    ],
)
async def test_an_address_of_mail_is_shown_as_it_is(visitor: Browser, email: str) -> None:
    page = await visitor.open("/signup")
    page = await page.form("/signup").fill(email=email, password="correct horse").send()
    assert page.root.one("span", class_="who").text == email
    user: Json | None = await current_user(visitor.http)
    assert user is not None
    assert user["email"] == email


@pytest.mark.long
@pytest.mark.parametrize("text", MARKUP[:6])
async def test_an_address_that_sign_up_would_refuse_is_text_all_the_same(
    visitor: Browser, text: str
) -> None:
    await _has_the_address(visitor, text)
    page = await visitor.open("/sell")
    assert page.root.one("span", class_="who").text == text
    assert_is_text(page, text)


async def _has_the_address(browser: Browser, email: str) -> None:
    """As after a migration of somebody else's accounts."""
    user = User(id=PydanticObjectId(), email=email, password_hash="", created_at=utc_now())
    token = resources_of(browser.app).sessions.issue(user)
    browser.http.cookies.set("session", token, domain="localhost.local")
