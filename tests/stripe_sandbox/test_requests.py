"""Requests in general: reading, listing, searching, and errors."""

import time
from typing import Any

import httpx
import pytest
import stripe

from stripe_sandbox import lists
from stripe_sandbox.testing import RunningSandbox
from tests.stripe_sandbox.client import pay


async def test_lists_are_newest_first_and_paged_by_cursor(client: Any) -> None:
    made = [(await pay(client)).id for _ in range(5)]
    newest = made[::-1]
    page = await client.payment_intents.list_async({"limit": 2})
    assert ([intent.id for intent in page.data], page.has_more) == (newest[:2], True)
    page = await client.payment_intents.list_async({"limit": 3, "starting_after": newest[1]})
    assert ([intent.id for intent in page.data], page.has_more) == (newest[2:], False)
    page = await client.payment_intents.list_async({"limit": 2, "ending_before": newest[3]})
    assert [intent.id for intent in page.data] == newest[1:3]
    assert page.has_more
    first = await client.payment_intents.list_async({"limit": 2})
    assert [intent.id async for intent in first.auto_paging_iter()] == newest


async def test_a_list_longer_than_a_batch_is_whole(client: Any, sandbox: RunningSandbox) -> None:
    for _ in range(lists.MAX_LIMIT + 5):
        await client.payment_intents.create_async({"amount": 2000, "currency": "usd"})
    page = await client.payment_intents.list_async({"limit": 100})
    assert (len(page.data), page.has_more) == (100, True)
    assert len(sandbox.payment_intents()) == lists.MAX_LIMIT + 5


async def test_lists_are_filtered_by_time(client: Any) -> None:
    intent = await pay(client)
    now = int(time.time())
    recent = await client.payment_intents.list_async({"created": {"gte": now - 60}})
    assert [found.id for found in recent.data] == [intent.id]
    later = await client.payment_intents.list_async({"created": {"gt": now + 60}})
    assert later.data == []


async def test_payments_are_found_by_their_metadata(client: Any) -> None:
    wanted = await pay(client, metadata={"order_id": "o1"})
    await pay(client, metadata={"order_id": "o2"})
    for query in ("metadata['order_id']:'o1'", 'metadata["order_id"]:"o1" AND currency:"usd"'):
        found = await client.payment_intents.search_async({"query": query})
        assert [intent.id for intent in found.data] == [wanted.id]
    with pytest.raises(stripe.InvalidRequestError):
        await client.payment_intents.search_async({"query": "status>'x'"})


async def test_ids_expand_into_objects(client: Any) -> None:
    intent = await pay(client, expand=["latest_charge.payment_method"])
    assert intent.latest_charge.payment_method.card.last4 == "4242"
    page = await client.payment_intents.list_async({"expand": ["data.payment_method"]})
    assert page.data[0].payment_method.type == "card"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await client.payment_intents.retrieve_async(intent.id, {"expand": ["amount"]})


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"currency": "usd"}, "parameter_missing", "amount"),
        ({"amount": 2000}, "parameter_missing", "currency"),
        ({"amount": 2000, "currency": "usd", "colour": "red"}, "parameter_unknown", "colour"),
        ({"amount": 49, "currency": "usd"}, "amount_too_small", "amount"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount_too_large", "amount"),
        ({"amount": -5, "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "1e3", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": 2000, "currency": "xxx"}, None, "currency"),
        ({"amount": 2000, "currency": "usd", "capture_method": "later"}, None, "capture_method"),
        (
            {"amount": 2000, "currency": "usd", "automatic_payment_methods": {"on": "true"}},
            "parameter_unknown",
            "automatic_payment_methods[on]",
        ),
        (
            {"amount": 2000, "currency": "usd", "return_url": "https://a.example/"},
            None,
            "return_url",
        ),
        (
            {"amount": 2000, "currency": "usd", "payment_method": "pm_none"},
            "resource_missing",
            "payment_method",
        ),
    ],
)
async def test_wrong_parameters_are_named(
    client: Any,
    sandbox: RunningSandbox,
    params: dict[str, Any],
    code: str | None,
    param: str | None,
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.payment_intents.create_async(params)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert sandbox.payment_intents() == []


async def test_unknown_ids_are_missing_resources(client: Any) -> None:
    for call in (
        client.payment_intents.retrieve_async("pi_none"),
        client.payment_intents.capture_async("pi_none"),
        client.charges.retrieve_async("ch_none"),
        client.refunds.retrieve_async("re_none"),
        client.events.retrieve_async("evt_none"),
        client.payment_methods.retrieve_async("pm_none"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=r"No such \w+: '\w+_none'") as missing:
            await call
        assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
        assert missing.value.param


async def test_an_unknown_route_is_a_404_in_stripes_format(
    client: Any, sandbox: RunningSandbox
) -> None:
    async with httpx.AsyncClient(base_url=sandbox.url) as http:
        for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/payment_intents")):
            answer = await http.request(method, path)
            assert answer.status_code == 404
            assert "Unrecognized request URL" in answer.json()["error"]["message"]


@pytest.mark.parametrize("key", ["sk_live_secret", "nonsense", "sk_test_"])
async def test_only_test_keys_are_accepted(sandbox: RunningSandbox, key: str) -> None:
    async with httpx.AsyncClient(base_url=sandbox.url) as http:
        answer = await http.get("/v1/balance", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 401
        assert key not in answer.text
        assert (await http.get("/v1/balance")).status_code == 401
        assert (await http.get("/v1/balance", auth=("sk_test_x", ""))).status_code == 200


async def test_a_publishable_key_creates_methods_and_reads_a_payment_by_secret(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await pay(client)
    headers = {"Authorization": "Bearer pk_test_x", "Origin": "https://shop.example"}
    form = {
        "type": "card",
        "card[number]": "4242424242424242",
        "card[exp_month]": "12",
        "card[exp_year]": "40",
        "card[cvc]": "123",
    }
    async with httpx.AsyncClient(base_url=sandbox.url, headers=headers) as http:
        made = await http.post("/v1/payment_methods", data=form)
        assert made.status_code == 200
        assert made.headers["access-control-allow-origin"] == "*"
        preflight = await http.options("/v1/payment_methods")
        assert preflight.headers["access-control-allow-origin"] == "*"

        path = f"/v1/payment_intents/{intent.id}"
        seen = await http.get(path, params={"client_secret": intent.client_secret})
        assert seen.json()["status"] == "requires_capture"
        assert "metadata" not in seen.json()
        assert (await http.get(path)).status_code == 400
        assert (await http.get(path, params={"client_secret": "x"})).status_code == 404
        assert (await http.post(f"{path}/capture")).status_code == 403


async def test_a_page_of_another_origin_may_make_methods_and_read_why_not(
    sandbox: RunningSandbox,
) -> None:
    origin = {"Origin": "http://127.0.0.1:8000"}
    asking = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,stripe-version",
    }
    async with httpx.AsyncClient(base_url=sandbox.url, headers=origin) as page:
        preflight = await page.options("/v1/payment_methods", headers=asking)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        # A star stands for every header but this one.
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert allowed == ["*", "authorization"]

        form = {"type": "card", "card[number]": "4242424242424241"}
        form |= {"card[exp_month]": "12", "card[exp_year]": "40"}
        for key, status in (("pk_test_sandbox", 402), ("pk_live_x", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            refused = await page.post("/v1/payment_methods", data=form, headers=headers)
            assert refused.status_code == status
            assert refused.headers["access-control-allow-origin"] == "*"


async def test_a_form_that_is_no_form_is_refused(sandbox: RunningSandbox) -> None:
    headers = {"Authorization": "Bearer sk_test_x"}
    async with httpx.AsyncClient(base_url=sandbox.url, headers=headers) as http:
        answer = await http.post("/v1/payment_intents", json={"amount": 2000})
        assert (answer.status_code, "content type" in answer.text) == (400, True)
        for body in ("amount[=1", "a=1&a[b]=2", "a[][b]=1", "a[b][c][d][e][f][g]=1", "a=%ff"):
            answer = await http.post(
                "/v1/payment_intents",
                content=body,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            assert answer.status_code == 400, body


async def test_the_balance_is_what_was_captured_and_not_refunded(client: Any) -> None:
    intent = await pay(client, capture_method="automatic")
    await pay(client)
    await client.refunds.create_async({"payment_intent": intent.id, "amount": 500})
    balance = await client.balance.retrieve_async()
    assert [(entry.amount, entry.currency) for entry in balance.available] == [(1500, "usd")]
