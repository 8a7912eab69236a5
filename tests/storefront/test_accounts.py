"""Signing up, in and out, with forms."""

from http.cookies import SimpleCookie

import pytest
from fastapi import FastAPI
from httpx import Response

from tests.api.conftest import PASSWORD, current_user, sign_in, sign_up
from tests.storefront.browser import Browser, Page
from tests.storefront.conftest import make_account, running
from ticketing.models import User
from ticketing.settings import ApiSettings

EMAIL = "ada@example.com"
SESSION = "session"

WRONG = [
    ("nonsense", PASSWORD, {"email": "This is not a valid e-mail address."}),
    ("a@b", PASSWORD, {"email": "This is not a valid e-mail address."}),
    ("", PASSWORD, {"email": "This is not a valid e-mail address."}),
    (f"{'a' * 250}@example.com", PASSWORD, {"email": "Use at most 254 characters."}),
    ("ada@example.com\0", PASSWORD, {"email": "This is not a valid e-mail address."}),
    (EMAIL, "", {"password": "Fill this in."}),
    (EMAIL, "seven77", {"password": "Use at least 8 characters."}),
    (EMAIL, "x" * 129, {"password": "Use at most 128 characters."}),
    (
        "nonsense",
        "short",
        {
            "email": "This is not a valid e-mail address.",
            "password": "Use at least 8 characters.",
        },
    ),
]


async def enter(browser: Browser, path: str, email: str, password: str) -> Page:
    """Fill in the form for signing up or in, and send it."""
    page = await browser.open(path)
    return await page.form(path).fill(email=email, password=password).send()


def cookie(answer: Response, name: str) -> str:
    """The Set-Cookie header of a cookie, as it is sent."""
    (header,) = [h for h in answer.headers.get_list("Set-Cookie") if h.startswith(f"{name}=")]
    return header


async def test_whoever_signs_up_is_signed_in_and_back_where_they_came_from(
    visitor: Browser,
) -> None:
    page = await (await visitor.open("/?q=berlin")).follow("Sign up")
    assert (page.title, page.heading) == ("Sign up · Holdfast", "Sign up")
    page = await page.form("/signup").fill(email=f" {EMAIL} ", password=PASSWORD).send()

    assert (page.status, page.address) == (200, "/?q=berlin")
    assert EMAIL in page.root.one("header").text
    assert not page.has_link("Sign in")
    user = await current_user(visitor.http)
    assert user is not None
    assert user["email"] == EMAIL


async def test_the_same_person_signs_in_again_in_whatever_case(
    visitor: Browser, app: FastAPI
) -> None:
    await make_account(app, EMAIL)
    page = await (await visitor.open("/sell")).follow("Sign up")
    page = await page.follow("Sign in")
    page = await page.form("/signin").fill(email="ADA@example.COM", password=PASSWORD).send()
    assert (page.status, page.address) == (200, "/sell")
    assert EMAIL in page.root.one("header").text


@pytest.mark.parametrize(("email", "password", "errors"), WRONG)
async def test_what_is_wrong_with_a_sign_up_is_said_beside_the_field(
    visitor: Browser, email: str, password: str, errors: dict[str, str]
) -> None:
    page = await enter(visitor, "/signup", email, password)

    assert (page.status, page.address) == (422, "/signup")
    for name in ("email", "password"):
        assert page.error(name) == errors.get(name, "")
    values = page.form("/signup").values
    assert (values["email"], values["password"]) == (email, "")
    assert SESSION not in visitor.http.cookies
    assert await User.count() == 0


async def test_an_address_that_has_an_account_is_refused_beside_the_field(
    visitor: Browser, app: FastAPI
) -> None:
    await make_account(app, EMAIL)
    page = await enter(visitor, "/signup", EMAIL.upper(), "another password")
    assert page.status == 409
    assert page.error("email") == "There is already an account with this e-mail address."
    assert page.form("/signup").values["email"] == EMAIL.upper()
    assert SESSION not in visitor.http.cookies


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
@pytest.mark.parametrize("password", ["wrong horse", "x", ""])
async def test_a_wrong_password_and_an_unknown_address_are_refused_in_the_same_words(
    visitor: Browser, app: FastAPI, email: str, password: str
) -> None:
    await make_account(app, EMAIL)
    page = await enter(visitor, "/signin", email, password)
    assert page.status == 401
    assert page.alert == "The e-mail address or the password is wrong."
    assert (page.error("email"), page.error("password")) == ("", "")
    assert page.form("/signin").values["email"] == email
    assert SESSION not in visitor.http.cookies


@pytest.mark.parametrize(
    ("email", "password", "name"), [("nonsense", PASSWORD, "email"), (EMAIL, "x" * 129, "password")]
)
async def test_what_cannot_be_a_sign_in_is_said_beside_the_field(
    visitor: Browser, email: str, password: str, name: str
) -> None:
    page = await enter(visitor, "/signin", email, password)
    assert page.status == 422
    assert page.error(name)
    assert page.form("/signin").values["email"] == email


@pytest.mark.parametrize("path", ["/signup", "/signin"])
@pytest.mark.parametrize("email", [EMAIL, "bob@example.com", "nonsense", ""])
async def test_no_answer_holds_the_password(
    visitor: Browser, app: FastAPI, path: str, email: str
) -> None:
    await make_account(app, EMAIL)
    password = "marker-of-a-password"
    page = await enter(visitor, path, email, password)
    for answer in page.way:
        assert password not in answer.text + repr(answer.headers)


async def test_a_form_that_lacks_its_fields_is_shown_again(visitor: Browser) -> None:
    for path in ("/signup", "/signin"):
        form = (await visitor.open(path)).form(path)
        page = await form.without("email").without("password").without("next").send()
        assert page.status == 422
        assert page.error("email")


@pytest.mark.parametrize("path", ["/signup", "/signin"])
async def test_whoever_is_signed_in_goes_on(seller: Browser, path: str) -> None:
    assert (await seller.open(path, follow=False)).goes_to == "/"
    page = await seller.open(f"{path}?next=/sell%3Fx%3D1", follow=False)
    assert page.goes_to == "/sell?x=1"


async def test_the_session_cookie_is_for_us_alone(visitor: Browser) -> None:
    page = await enter(visitor, "/signup", EMAIL, PASSWORD)
    entered = page.way[0]
    session = SimpleCookie(cookie(entered, SESSION))[SESSION]
    assert (session["httponly"], session["samesite"], session["path"]) == (True, "lax", "/")
    assert session["max-age"] == str(7 * 24 * 60 * 60)
    assert session["domain"] == ""
    assert session["secure"] == ""  # as the settings of these tests say
    assert entered.headers["Cache-Control"] == "no-store"


@pytest.mark.usefixtures("app")
async def test_where_sessions_are_secure_both_cookies_travel_encrypted_only(
    api_settings: ApiSettings,
) -> None:
    session = api_settings.session.model_copy(update={"cookie_secure": True})
    secure = api_settings.model_copy(update={"session": session})
    async with running(secure) as app, Browser(app) as browser:
        page = await browser.open("/signup")
        shown = SimpleCookie(cookie(page.response, "visit"))["visit"]
        # This browser is not at https, and keeps no such cookie.
        browser.http.cookies.set("visit", shown.value)
        form = page.form("/signup").fill(email=EMAIL, password=PASSWORD)
        answer = await browser.send(
            "/signup", form.values, origin="https://localhost", follow=False
        )
    for name, seen in (("visit", page.response), (SESSION, answer.response)):
        kept = SimpleCookie(cookie(seen, name))[name]
        assert (kept["secure"], kept["httponly"], kept["samesite"]) == (True, True, "lax")


async def test_of_two_tabs_with_forms_both_can_be_sent(visitor: Browser, app: FastAPI) -> None:
    await make_account(app, EMAIL)
    first, second = [await visitor.open("/signin?next=/sell") for _ in range(2)]
    for tab in (second, first):
        page = await tab.form("/signin").fill(email=EMAIL, password=PASSWORD).send()
        assert (page.status, page.address) == (200, "/sell")


async def test_a_mistake_in_a_second_tab_leaves_the_session_of_the_first_in_use(
    visitor: Browser, app: FastAPI
) -> None:
    await make_account(app, EMAIL)
    first, second = [await visitor.open("/signin") for _ in range(2)]
    await first.form("/signin").fill(email=EMAIL, password=PASSWORD).send()
    page = await second.form("/signin").fill(email=EMAIL, password="mistyped").send()
    assert page.status == 401

    if page.has_form("/signout"):
        assert (await page.form("/signout").send()).notice == "You are signed out."
    else:
        assert (await page.form("/signin").fill(password=PASSWORD).send()).status == 200


async def test_signing_out_ends_the_session_wherever_a_copy_of_it_is(
    seller: Browser, app: FastAPI
) -> None:
    copied = seller.http.cookies[SESSION]
    page = await (await seller.open("/sell")).form("/signout").send()
    assert (page.address, page.notice) == ("/?done=signed-out", "You are signed out.")
    assert page.has_link("Sign in")
    assert SESSION not in seller.http.cookies

    async with Browser(app) as thief:
        thief.http.cookies.set(SESSION, copied)
        assert (await thief.open("/sell")).address == "/signin?next=/sell"
        assert (await thief.open("/")).has_link("Sign in")


async def test_a_second_tab_that_is_signed_out_already_leads_to_the_form(seller: Browser) -> None:
    first, second = [await seller.open("/sell") for _ in range(2)]
    await first.form("/signout").send()
    page = await second.form("/sell").fill(title="Radiohead", price="25").send()
    assert (page.status, page.address) == (200, "/signin?next=/sell")


async def test_a_session_that_somebody_else_began_here_does_not_send_the_first_ones_forms(
    visitor: Browser, app: FastAPI
) -> None:
    await sign_up(visitor.http, email=EMAIL)
    page = await visitor.open("/sell")
    await make_account(app, "bob@example.com")
    assert (await sign_in(visitor.http, "bob@example.com")).status_code == 200
    refused = await page.form("/sell").fill(title="Radiohead", price="25").send()
    assert (refused.status, refused.heading) == (403, "That is not allowed")


async def test_fields_are_ones_that_browsers_and_password_managers_know(
    visitor: Browser, seller: Browser
) -> None:
    for page, name, expected in (
        (await visitor.open("/signin"), "email", ("email", "username", "email")),
        (await visitor.open("/signup"), "email", ("email", "username", "email")),
        (await visitor.open("/signin"), "password", ("password", "current-password", "")),
        (await visitor.open("/signup"), "password", ("password", "new-password", "")),
        (await visitor.open("/"), "q", ("search", "off", "")),
        (await visitor.open("/"), "min", ("text", "off", "decimal")),
        (await visitor.open("/"), "max", ("text", "off", "decimal")),
        (await seller.open("/sell"), "title", ("text", "off", "")),
        (await seller.open("/sell"), "price", ("text", "off", "decimal")),
    ):
        field = page.root.one("input", name=name)
        found = (field.get("type"), field.get("autocomplete"), field.get("inputmode"))
        assert found == expected, (page.address, name)


async def test_the_forms_ask_for_no_more_than_is_needed_and_say_what_is_required(
    visitor: Browser,
) -> None:
    password = (await visitor.open("/signup")).root.one("input", name="password")
    assert (password["minlength"], password["maxlength"]) == ("8", "128")
    for path in ("/signup", "/signin"):
        form = (await visitor.open(path)).form(path)
        assert set(form.values) == {"csrf_token", "next", "email", "password"}
        assert all("required" in e for e in form.element.all("input") if e["type"] != "hidden")
