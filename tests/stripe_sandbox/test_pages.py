"""The bank's page and the sandbox's front page."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import stripe

from stripe_sandbox.testing import RunningSandbox

SHOP = "https://shop.example/orders/1?tab=pay"


@pytest.fixture
async def browser(sandbox: RunningSandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.url) as browser:
        yield browser


def pay(client: Any, method: str = "pm_card_authenticationRequired", **more: Any) -> Any:
    return client.payment_intents.create_async(
        {
            "amount": 123456,
            "currency": "usd",
            "payment_method": method,
            "payment_method_types": ["card"],
            "confirm": True,
            "capture_method": "manual",
            **more,
        }
    )


def page_of(intent: Any) -> str:
    action = intent.next_action
    if action.type == "redirect_to_url":
        return str(action.redirect_to_url.url)
    return str(action.use_stripe_sdk.stripe_js)


async def press(
    browser: httpx.AsyncClient, page: str, decision: str, **query: Any
) -> httpx.Response:
    url = httpx.URL(page).copy_merge_params(query)
    return await browser.post(url, data={"decision": decision})


async def test_the_bank_asks_with_the_amount_and_the_merchant(
    client: Any, browser: httpx.AsyncClient
) -> None:
    intent = await pay(client, description="Ticket <b>1</b>")
    page = await browser.get(page_of(intent))
    assert page.status_code == 200
    assert "$1,234.56" in page.text
    assert "Test merchant" in page.text
    assert "Ticket &lt;b&gt;1&lt;/b&gt;" in page.text
    assert "Approve" in page.text
    assert "Decline" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("decision", "status", "words", "redirect_status"),
    [
        ("approve", "requires_capture", "Payment approved", "succeeded"),
        ("decline", "requires_payment_method", "Payment declined", "failed"),
    ],
)
async def test_a_decision_changes_the_payment_and_shows_or_redirects(
    client: Any,
    browser: httpx.AsyncClient,
    decision: str,
    status: str,
    words: str,
    redirect_status: str,
) -> None:
    shown = await pay(client)
    page = await press(browser, page_of(shown), decision)
    assert words in page.text
    assert (await client.payment_intents.retrieve_async(shown.id)).status == status

    sent_back = await pay(client, return_url=SHOP)
    answer = await press(browser, page_of(sent_back), decision)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("https://shop.example/orders/1?tab=pay&")
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["payment_intent"] == [sent_back.id]
    assert query["redirect_status"] == [redirect_status]


async def test_only_the_first_decision_counts(
    client: Any, browser: httpx.AsyncClient, sandbox: RunningSandbox
) -> None:
    intent = await pay(client, return_url=SHOP)
    await press(browser, page_of(intent), "approve")
    again = await press(browser, page_of(intent), "decline")
    assert (again.status_code, "Payment approved" in again.text) == (200, True)
    assert sandbox.payment_intent(intent.id)["status"] == "requires_capture"


async def test_a_decision_after_a_cancel_shows_the_cancellation(
    client: Any, browser: httpx.AsyncClient, sandbox: RunningSandbox
) -> None:
    intent = await pay(client)
    await client.payment_intents.cancel_async(intent.id)
    assert "Payment cancelled" in (await browser.get(page_of(intent))).text
    assert "Payment cancelled" in (await press(browser, page_of(intent), "approve")).text
    assert sandbox.payment_intent(intent.id)["status"] == "canceled"
    assert sandbox.charges(intent.id) == []


async def test_of_an_approval_and_a_cancel_at_once_the_first_decides(
    client: Any, browser: httpx.AsyncClient, sandbox: RunningSandbox
) -> None:
    for _ in range(5):
        intent = await pay(client, capture_method="automatic")
        answers: tuple[Any, Any] = await asyncio.gather(
            press(browser, page_of(intent), "approve"),
            client.payment_intents.cancel_async(intent.id),
            return_exceptions=True,
        )
        page, canceled = answers
        status = sandbox.payment_intent(intent.id)["status"]
        if isinstance(canceled, Exception):
            assert (status, "Payment approved" in page.text) == ("succeeded", True)
        else:
            assert (status, "Payment cancelled" in page.text) == ("canceled", True)


async def test_a_card_that_is_declined_after_the_approval_says_so(
    client: Any, browser: httpx.AsyncClient
) -> None:
    intent = await pay(client, "pm_card_threeDSecureRequiredChargeDeclined")
    page = await press(browser, page_of(intent), "approve")
    assert "Payment declined" in page.text


@pytest.mark.parametrize(
    ("asked", "followed"),
    [
        (SHOP, True),
        ("http://localhost:8000/orders/1", True),
        ("http://127.0.0.1:8000/orders/1", True),
        ("http://[::1]:8000/", True),
        ("https://evil.example/", False),
        ("//evil.example/", False),
        ("http://localhost.evil.example/", False),
        ("http://localhost@evil.example/", False),
        ("http://evil.example\\@localhost/", False),
        ("javascript:alert(1)", False),
        ("http://evil.example\\[::1]/", False),
        ("http://[broken/", False),
    ],
)
async def test_the_buyer_is_sent_only_to_the_merchants_or_a_loopback_url(
    client: Any, browser: httpx.AsyncClient, asked: str, followed: bool
) -> None:
    intent = await pay(client, return_url=SHOP)
    answer = await press(browser, page_of(intent), "approve", return_url=asked)
    assert answer.status_code == (303 if followed else 200)
    assert "evil.example" not in answer.text + answer.headers.get("location", "")
    assert "javascript:" not in answer.text


@pytest.mark.parametrize(
    ("decision", "redirect_status"), [("approve", "succeeded"), ("decline", "failed")]
)
async def test_a_loopback_return_url_of_the_link_is_used(
    client: Any, browser: httpx.AsyncClient, decision: str, redirect_status: str
) -> None:
    intent = await pay(client)
    asked = "http://127.0.0.1:8000/orders/1?from=bank"
    link = {"client_secret": intent.client_secret, "return_url": asked}
    form = await browser.get("/authenticate", params=link)
    assert "Approve" in form.text
    assert " action=" not in form.text  # the press goes to this address, with its return_url
    answer = await browser.post(form.url, data={"decision": decision})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{asked}&payment_intent={intent.id}&")
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["redirect_status"] == [redirect_status]


@pytest.mark.parametrize("ending", ["approve", "decline", "cancel"])
async def test_a_decided_payment_links_back_to_the_merchant(
    client: Any, browser: httpx.AsyncClient, ending: str
) -> None:
    intent = await pay(client)
    if ending == "cancel":
        await client.payment_intents.cancel_async(intent.id)
    else:
        await press(browser, page_of(intent), ending)
    asked = "http://127.0.0.1:8000/orders/1"
    link = {"client_secret": intent.client_secret, "return_url": asked}
    looked = await browser.get("/authenticate", params=link)
    pressed = await browser.post("/authenticate", params=link, data={"decision": "approve"})
    for page in (looked, pressed):
        assert page.status_code == 200
        assert f'<a href="{asked}?payment_intent={intent.id}' in page.text
        assert "Approve</button>" not in page.text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://[broken/", "//shop.example/"])
async def test_a_return_url_is_an_http_url(client: Any, url: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await pay(client, return_url=url)
    assert refused.value.param == "return_url"


async def test_an_unknown_secret_or_decision_changes_nothing(
    client: Any, browser: httpx.AsyncClient, sandbox: RunningSandbox
) -> None:
    intent = await pay(client)
    for secret in ("", "x", f"{intent.id}_secret_guess", f"{intent.id}_secret_é"):
        for call in (browser.get, browser.post):
            assert (
                await call("/authenticate", params={"client_secret": secret})
            ).status_code == 404
    assert (await press(browser, page_of(intent), "perhaps")).status_code == 400
    assert sandbox.payment_intent(intent.id)["status"] == "requires_action"


async def test_the_front_page_lists_cards_and_recent_payments(
    client: Any, browser: httpx.AsyncClient
) -> None:
    waiting = await pay(client, metadata={"order_id": "<o1>"})
    done = await pay(client, "pm_card_visa")
    page = (await browser.get("/")).text
    assert waiting.id in page
    assert done.id in page
    assert f"/authenticate?client_secret={waiting.client_secret}" in page
    assert done.client_secret not in page
    assert "pm_card_chargeDeclinedInsufficientFunds" in page
    assert "order_id=&lt;o1&gt;" in page
    assert (await browser.get("/_sandbox/style.css")).headers["content-type"].startswith("text/css")
