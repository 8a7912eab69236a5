"""Payment by card without JavaScript: the shop's form posts the card to the sandbox."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from stripe_sandbox.testing import RunningSandbox, running_sandbox

SHOP = "http://127.0.0.1:8000/orders/1/pay"
CARD = {"number": "4242 4242 4242 4242", "expiry": "12 / 40", "cvc": "123", "return_url": SHOP}


@pytest.fixture
async def browser(sandbox: RunningSandbox) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Origin": "http://127.0.0.1:8000"}
    async with httpx.AsyncClient(base_url=sandbox.url, headers=headers) as browser:
        yield browser


async def send(browser: httpx.AsyncClient, **fields: str | None) -> httpx.Response:
    """Post the form of a valid card with these fields changed; None omits one."""
    form = {name: value for name, value in {**CARD, **fields}.items() if value is not None}
    return await browser.post("/_sandbox/cards", data=form)


def timeline_of(answer: httpx.Response) -> dict[str, list[str]]:
    """The query parameters of the URL that the buyer is sent back to."""
    assert answer.status_code == 303, answer.text
    return parse_qs(urlsplit(answer.headers["location"]).query, keep_blank_values=True)


def everything_in(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


async def test_the_buyer_comes_back_with_a_payment_method_that_pays(
    client: Any, browser: httpx.AsyncClient
) -> None:
    answer = await send(browser)
    assert answer.headers["location"].startswith(f"{SHOP}?payment_method=pm_")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    (method,) = timeline_of(answer)["payment_method"]
    intent = await client.payment_intents.create_async(
        {
            "amount": 2000,
            "currency": "usd",
            "payment_method": method,
            "payment_method_types": ["card"],
            "capture_method": "manual",
            "confirm": True,
        }
    )
    assert intent.status == "requires_capture"


async def test_the_payment_method_has_the_submitted_card(
    client: Any, browser: httpx.AsyncClient
) -> None:
    answer = await send(browser, number="3782-822463-10005", cvc="1234", expiry="01/2041")
    method = await client.payment_methods.retrieve_async(timeline_of(answer)["payment_method"][0])
    card = method.card
    assert (card.brand, card.last4, card.exp_month, card.exp_year) == ("amex", "0005", 1, 2041)


@pytest.mark.parametrize(
    "expiry", ["12 / 40", "12/40", "1240", "12/2040", "12 / 2040", " 12/40 ", "122040"]
)
async def test_an_expiry_date_is_accepted_in_every_common_format(
    client: Any, browser: httpx.AsyncClient, expiry: str
) -> None:
    answer = await send(browser, expiry=expiry)
    method = await client.payment_methods.retrieve_async(timeline_of(answer)["payment_method"][0])
    assert (method.card.exp_month, method.card.exp_year) == (12, 2040)


LAST_YEAR = datetime.now(UTC).year - 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"number": None}, "incomplete_number"),
        ({"number": "  "}, "incomplete_number"),
        ({"number": "4242 4242 4242 4241"}, "incorrect_number"),
        ({"number": "4242"}, "incorrect_number"),
        ({"number": "a card"}, "incorrect_number"),
        ({"number": "4" * 6000}, "parameter_invalid_string"),
        ({"number": "4111 1111 1111 1111"}, "card_declined"),
        ({"expiry": None}, "incomplete_expiry"),
        ({"expiry": ""}, "incomplete_expiry"),
        ({"expiry": "12"}, "incomplete_expiry"),
        ({"expiry": "12/4"}, "incomplete_expiry"),
        ({"expiry": "December"}, "incomplete_expiry"),
        ({"expiry": "13/40"}, "invalid_expiry_month"),
        ({"expiry": "00/40"}, "invalid_expiry_month"),
        ({"expiry": f"12/{LAST_YEAR}"}, "invalid_expiry_year"),
        ({"expiry": "12/2999"}, "invalid_expiry_year"),
        ({"cvc": None}, "incomplete_cvc"),
        ({"cvc": ""}, "incomplete_cvc"),
        ({"cvc": "12"}, "invalid_cvc"),
        ({"cvc": "abc"}, "invalid_cvc"),
    ],
)
async def test_a_refused_card_returns_stripes_error_code(
    browser: httpx.AsyncClient,
    sandbox: RunningSandbox,
    wrong: dict[str, str | None],
    code: str,
) -> None:
    answer = await send(browser, **wrong)
    assert timeline_of(answer) == {"card_error": [code]}
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert list(sandbox.ledger.objects("payment_method")) == []


async def test_the_return_urls_own_query_is_kept(browser: httpx.AsyncClient) -> None:
    address = f"{SHOP}?tab=pay&tab=2&empty=&card_error=invalid_cvc#form"
    answer = await send(browser, return_url=address)
    query = timeline_of(answer)
    assert query["tab"] == ["pay", "2"]
    assert query["empty"] == [""]
    assert "card_error" not in query  # of an earlier try
    assert urlsplit(answer.headers["location"]).fragment == "form"
    again = await send(browser, return_url=answer.headers["location"], cvc="1")
    assert timeline_of(again) == {"tab": ["pay", "2"], "empty": [""], "card_error": ["invalid_cvc"]}


@pytest.mark.parametrize(
    ("address", "followed"),
    [
        ("http://localhost:8000/", True),
        ("https://127.0.0.1/orders", True),
        ("http://[::1]:8000/", True),
        (None, False),
        ("", False),
        ("/orders/1", False),
        ("https://evil.example/", False),
        ("//evil.example/", False),
        ("http://127.0.0.1.evil.example/", False),
        ("http://127.0.0.1@evil.example/", False),
        ("http://evil.example@127.0.0.1/", False),
        ("http://evil.example\\@127.0.0.1/", False),
        ("http:\\\\evil.example/", False),
        ("http://evil.example\\[::1]/", False),
        ("http://[broken/", False),
        ("javascript:alert(1)", False),
    ],
)
async def test_the_form_redirects_to_loopback_urls_only(
    browser: httpx.AsyncClient, sandbox: RunningSandbox, address: str | None, followed: bool
) -> None:
    answer = await send(browser, return_url=address)
    assert answer.status_code == (303 if followed else 400)
    assert "evil.example" not in answer.text + answer.headers.get("location", "")
    if not followed:
        assert "Your card was not taken" in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert list(sandbox.ledger.objects("payment_method")) == []


async def test_a_body_that_is_no_form_is_refused(browser: httpx.AsyncClient) -> None:
    for body in (b"", b"\xff\xfe", b"number=%ff&return_url=%00", b'{"number": "4242"}'):
        assert (await browser.post("/_sandbox/cards", content=body)).status_code == 400
    assert (await browser.get("/_sandbox/cards")).status_code == 405


@pytest.mark.parametrize("number", ["4242424242424242", "4111111111111111", "4242424242424241"])
async def test_the_card_number_is_not_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_sandbox(database=tmp_path / "stripe.db") as sandbox:
        async with httpx.AsyncClient(base_url=sandbox.url) as browser:
            answer = await send(browser, number=number, cvc="987")
        kept = everything_in(tmp_path)
        assert number.encode() not in kept
        assert b'"987"' not in kept
    assert number not in str(answer.headers) + answer.text
    assert number not in caplog.text
