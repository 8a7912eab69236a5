"""Refusals, outages and bugs: a page for people, and a problem for programs."""

import asyncio
import logging
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import Response
from pydantic import SecretStr

from api.http.middleware import MAX_BODY_BYTES
from api.tickets.service import TicketService
from devstack.mongodb import running_mongod
from tests.api.conftest import assert_problem, list_ticket, sign_up, visit
from tests.api.tickets import SOME_ID
from tests.storefront.browser import ACCEPT, SITE, Browser, Page
from tests.storefront.conftest import running
from ticketing.models import Ticket
from ticketing.settings import ApiSettings, MongoDBSettings

PROGRAMS = ["*/*", "application/json", "", "image/avif,image/webp,*/*"]

FOR_PROGRAMS = [
    "/api/tickets/x",
    "/api/nothing",
    "/static/nothing.css",
    "/docs/x",
    "/openapi.json/x",
]


def assert_error_page(page: Page, status: int, heading: str) -> None:
    """It is a page like the others, which asks nothing of session and database."""
    assert (page.status, page.heading) == (status, heading)
    assert page.title == f"{heading} · Holdfast"
    assert page.response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Set-Cookie" not in page.response.headers
    assert [a.text for a in page.root.one("header").all("a")] == ["Holdfast", "Browse"]
    assert page.link("See what is on sale") == f"{SITE}/"


@pytest.fixture
async def broken(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in what every page of a ticket needs."""

    async def fail(_service: TicketService, _ticket_id: str) -> Ticket:
        raise KeyError("a secret of the implementation")

    monkeypatch.setattr(TicketService, "get", fail)


@pytest.mark.parametrize("path", ["/nothing", "/tickets", "/orders/x/y", "/apiary", "//", "/%00"])
async def test_where_nothing_is_a_page_says_so(visitor: Browser, path: str) -> None:
    page = await visitor.open(f"{SITE}{path}")
    assert_error_page(page, 404, "There is nothing here")
    assert not page.has_link("Try again")


@pytest.mark.parametrize("accept", PROGRAMS)
@pytest.mark.parametrize("path", ["/nothing", f"/tickets/{SOME_ID}"])
async def test_a_program_is_told_in_its_own_way(visitor: Browser, path: str, accept: str) -> None:
    assert_problem(
        await visitor.http.get(path, headers={"Accept": accept}),
        404,
        "not_found" if path == "/nothing" else "ticket_not_found",
    )


@pytest.mark.parametrize("path", FOR_PROGRAMS)
async def test_what_only_programs_ask_for_is_told_to_programs(app: FastAPI, path: str) -> None:
    async with visit(app) as program:
        answer = await program.get(path, headers={"Accept": ACCEPT})
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_method_that_a_page_does_not_answer_is_a_page(visitor: Browser) -> None:
    for path in ("/", "/orders", f"/tickets/{SOME_ID}"):
        page = await visitor.send(path, {})
        assert_error_page(page, 405, "That did not work")
        assert set(page.response.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert (await visitor.open("/signout")).heading == "Tickets"


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        (f"/tickets/{SOME_ID}/reserve", f"/tickets/{SOME_ID}"),
        (f"/orders/{SOME_ID}/pay", f"/orders/{SOME_ID}"),
        (f"/orders/{SOME_ID}/cancel", f"/orders/{SOME_ID}"),
        (f"/sales/{SOME_ID}/refund", f"/sales/{SOME_ID}"),
    ],
)
async def test_the_address_of_an_answer_to_a_form_opens_what_the_form_was_on(
    visitor: Browser, path: str, leads_to: str
) -> None:
    # It stands in the address bar, when the answer is a page; and people go there again.
    assert (await visitor.open(path, follow=False)).goes_to == leads_to


@pytest.mark.parametrize("path", ["/", "/signin", "/sell", f"/tickets/{SOME_ID}", "/nothing"])
async def test_head_is_answered_as_get_is(visitor: Browser, path: str) -> None:
    asked = {"Accept": ACCEPT}
    got = await visitor.http.get(path, headers=asked)
    head = await visitor.http.head(path, headers=asked)
    assert head.status_code == got.status_code
    changing = {"x-request-id", "set-cookie", "content-length"}
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in got.headers.items() if k not in changing
    }


async def test_a_form_that_fails_on_a_bug_leads_back_to_what_it_was_on(
    seller: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await list_ticket(seller.http)
    form = (await seller.open(f"/tickets/{ticket['id']}/edit")).form("/edit").fill(price="26")

    async def fail(*_: object, **__: object) -> Ticket:
        raise KeyError("price")

    monkeypatch.setattr(TicketService, "edit", fail)
    page = await form.send()
    assert_error_page(page, 500, "Something went wrong")
    assert (await page.follow("Back to the ticket")).address == f"/tickets/{ticket['id']}"


async def test_too_large_a_form_is_a_page(visitor: Browser, seller: Browser) -> None:
    form = (await seller.open("/sell")).form("/sell")
    for sent in (
        await form.forge(title="x" * MAX_BODY_BYTES).send(),
        await visitor.send("/signin", {"email": "x" * MAX_BODY_BYTES}),
        await visitor.send("/nothing", {"email": "x" * MAX_BODY_BYTES}),
    ):
        assert_error_page(sent, 413, "That did not work")
        assert "The request body is too large." in sent.text


@pytest.mark.parametrize("path", ["/?sort=x", "/?cursor=x"])
async def test_a_question_that_makes_no_sense_is_a_page(visitor: Browser, path: str) -> None:
    page = await visitor.open(path)
    assert_error_page(page, 422, "That did not work")
    answer = await visitor.http.get(path, headers={"Accept": "*/*"})
    assert_problem(answer, 422, "validation_error")


NO_FORMS = {
    "json": ("application/json", b'{"title": "x", "price": "25"}'),
    "nothing": ("", b""),
    "no boundary": ("multipart/form-data", b"x"),
    "broken multipart": ("multipart/form-data; boundary=b", b"--b\r\nx"),
    "a file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="title"; filename="x"\r\n\r\nx\r\n--b--\r\n',
    ),
    "too many fields": (
        "multipart/form-data; boundary=b",
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % n for n in range(50)
        )
        + b"--b--\r\n",
    ),
    "half a surrogate pair": (
        "multipart/form-data; charset=utf-7; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n+2AA-\r\n--b--\r\n',
    ),
    "no utf-8": ("application/x-www-form-urlencoded", b"title=%ff%fe&csrf_token=\xff"),
    "zeroes": ("application/x-www-form-urlencoded", b"csrf_token=%00&title=%00"),
    "many ampersands": ("application/x-www-form-urlencoded", b"&" * 60_000),
    "many fields": ("application/x-www-form-urlencoded", b"a=1&" * 10_000),
    "an unknown charset": (
        "multipart/form-data; charset=klingon; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nx\r\n--b--\r\n',
    ),
}


@pytest.mark.parametrize("kind", NO_FORMS)
@pytest.mark.parametrize("path", ["/sell", "/signin"])
async def test_what_is_no_form_is_refused_with_a_page_and_does_nothing(
    seller: Browser, path: str, kind: str
) -> None:
    content_type, body = NO_FORMS[kind]
    headers = {"Accept": ACCEPT, "Content-Type": content_type, "Origin": SITE}
    answer = await seller.http.post(path, content=body, headers=headers)
    assert answer.status_code in {403, 415, 422}, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert await Ticket.count() == 0


@pytest.mark.parametrize(
    "charset", ["undefined", "punycode", "utf-7", "utf-16", "x\0", "x" * 5_000]
)
async def test_a_form_in_another_charset_is_refused_with_a_page(
    visitor: Browser, charset: str
) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="email"\r\n\r\n+2AA-\r\n--b--\r\n'
    content_type = f"multipart/form-data; boundary=b; charset={charset}"
    headers = {"Accept": ACCEPT, "Content-Type": content_type}
    for path in ("/signin", "/signup", "/sell", f"/orders/{SOME_ID}/pay"):
        answer = await visitor.http.post(path, content=body, headers=headers)
        assert_error_page(Page(visitor, answer, (answer,)), 415, "That did not work")
        assert "Send text as UTF-8" in answer.text


@pytest.mark.usefixtures("broken")
async def test_a_bug_is_a_page_that_explains_nothing_and_is_logged(
    seller: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (f"/tickets/{SOME_ID}", f"/tickets/{SOME_ID}/card", f"/tickets/{SOME_ID}/edit"):
        page = await seller.open(path)
        assert_error_page(page, 500, "Something went wrong")
        assert "secret" not in page.response.text
        assert page.text.count("went wrong") == 1
        assert "The mistake is ours, and it is on record." in page.text
        assert page.response.headers["X-Request-Id"]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 3
    answer = await seller.http.get(f"/tickets/{SOME_ID}", headers={"Accept": "*/*"})
    assert_problem(answer, 500, "internal_error")
    assert (await seller.open("/")).status == 200  # still signed in


async def test_a_bug_in_a_template_is_a_page_too(
    visitor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.storefront.browsing.SORT_LABELS", None)
    assert_error_page(await visitor.open("/"), 500, "Something went wrong")


@pytest.mark.long
async def test_without_mongodb_every_page_says_so_and_nobody_is_signed_out(
    api_settings: ApiSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticketing.mongodb.SERVER_SELECTION_TIMEOUT_MS", 300)
    with running_mongod(tmp_path) as url:
        mongodb = MongoDBSettings(url=SecretStr(url), database="going_down")
        going_down = running(api_settings.model_copy(update={"mongodb": mongodb}))
        app = await going_down.__aenter__()
        browser = Browser(app)
        await sign_up(browser.http)
        form = (await browser.open("/sell")).form("/sell").fill(title="x", price="25")
        out = (await browser.open("/")).form("/signout")
        ticket = await list_ticket(browser.http)
    try:
        paths = ["/", "/sell", "/orders", "/listings", f"/tickets/{ticket['id']}?x=%26"]
        for path, page in zip(paths, await asyncio.gather(*map(browser.open, paths)), strict=True):
            assert_error_page(page, 503, "Back in a moment")
            assert "The database does not respond." in page.text
            assert page.response.headers["Retry-After"] == "2"
            assert page.link("Try again") == f"{SITE}{path}"
        for sent in (await form.send(), await out.send()):
            assert_error_page(sent, 503, "Back in a moment")
            # A form is not sent again by following a link.
            assert not sent.has_link("Try again")
        assert "session" in browser.http.cookies
        assert (await browser.http.get("/static/style.css")).status_code == 200
    finally:
        await browser.http.aclose()
        await going_down.__aexit__(None, None, None)


async def test_without_temporal_a_reservation_is_a_page_that_says_what_is_not_done(
    seller: Browser, buyer: Browser
) -> None:
    ticket = await list_ticket(seller.http)
    page = await (await buyer.open(f"/tickets/{ticket['id']}")).form("/reserve").send()
    assert_error_page(page, 503, "Back in a moment")
    assert "nothing was reserved" in page.text
    assert page.response.headers["Retry-After"]
    assert page.link("Back to the ticket") == f"{SITE}/tickets/{ticket['id']}"
    assert (await buyer.open(f"/tickets/{ticket['id']}")).has_form("/reserve")
    assert (await buyer.open("/orders")).root.all("li", class_="row") == []


@pytest.mark.parametrize("path", ["/orders", "/sell", "/listings", f"/orders/{SOME_ID}"])
async def test_a_part_of_a_page_that_needs_a_session_has_the_page_loaded_anew(
    visitor: Browser, path: str
) -> None:
    answer = await visitor.ask_for_part(path)
    assert (answer.status_code, answer.headers.get("HX-Refresh")) == (401, "true")
    assert answer.text == ""
    # And a browser that asks for a page's part as such does not lose its way.
    assert (await visitor.open(path)).address.startswith("/signin?next=")


@pytest.mark.parametrize("path", ["/orders", "/sell", f"/orders/{SOME_ID}"])
async def test_a_program_without_a_session_is_told_so(visitor: Browser, path: str) -> None:
    answer = await visitor.http.get(path, headers={"Accept": "*/*"})
    assert_problem(answer, 401, "not_authenticated")
    assert "HX-Refresh" not in answer.headers


async def test_a_part_that_is_not_there_is_no_reason_to_load_anew(visitor: Browser) -> None:
    answer: Response = await visitor.ask_for_part("/nothing")
    assert answer.status_code == 404
    assert "HX-Refresh" not in answer.headers


async def test_an_open_page_is_told_that_its_ticket_was_withdrawn(visitor: Browser) -> None:
    answer: Response = await visitor.ask_for_part(f"/tickets/{SOME_ID}")
    assert answer.status_code == 200
    assert "This ticket was withdrawn" in answer.text
    assert "HX-Refresh" not in answer.headers


@pytest.fixture
async def worn(visitor: Browser) -> Browser:
    """A browser with a session that is none any more."""
    visitor.http.cookies.set("session", "forged.or.expired", domain="localhost.local")
    return visitor


async def test_a_session_that_is_over_keeps_nobody_from_looking_or_signing_in(
    worn: Browser,
) -> None:
    page = await worn.open("/")
    assert (page.status, page.has_link("Sign in")) == (200, True)
    page = await worn.open("/sell")
    assert page.address == "/signin?next=/sell"
    page = (
        await (await page.follow("Sign up"))
        .form("/signup")
        .fill(email="ada@example.com", password="correct horse")
        .send()
    )
    assert (page.status, page.address) == (200, "/sell")
