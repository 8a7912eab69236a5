"""Faults on demand, and the effect of a retry with the same key."""

import asyncio
from typing import Any

import httpx
import pytest
import stripe

from stripe_sandbox.faults import FaultKind, FaultRule
from stripe_sandbox.testing import RunningSandbox, running_sandbox
from tests.stripe_sandbox.client import authorize, headers_of, replayed
from tests.waiting import eventually


async def test_a_lost_answer_and_a_retry_with_the_same_key_make_one_charge(
    client: Any, sandbox: RunningSandbox
) -> None:
    sandbox.set_fault("lost_answer", path="/v1/payment_intents")
    with pytest.raises(stripe.APIConnectionError):
        await authorize(client)
    (done,) = sandbox.payment_intents()
    assert done["status"] == "requires_capture"

    intent = await authorize(client)
    assert intent.id == done["id"]
    assert len(sandbox.charges(intent.id)) == 1

    sandbox.set_fault("lost_answer", path="/v1/payment_intents/*/capture")
    with pytest.raises(stripe.APIConnectionError):
        await client.payment_intents.capture_async(intent.id, None, {"idempotency_key": "c"})
    captured = await client.payment_intents.capture_async(intent.id, None, {"idempotency_key": "c"})
    assert (captured.status, captured.amount_received) == ("succeeded", 2000)
    assert sandbox.count("POST", "/v1/payment_intents/*/capture") == 2


async def test_without_a_key_a_retry_after_a_lost_answer_pays_twice(
    client: Any, sandbox: RunningSandbox
) -> None:
    """The control of the tests before it."""
    sandbox.set_fault("lost_answer")
    with pytest.raises(stripe.APIConnectionError):
        await authorize(client, "one")
    await authorize(client, "two")
    assert len(sandbox.payment_intents()) == 2


async def test_a_lost_request_has_done_nothing(client: Any, sandbox: RunningSandbox) -> None:
    sandbox.set_fault("lost_request")
    with pytest.raises(stripe.APIConnectionError):
        await authorize(client)
    assert sandbox.payment_intents() == []
    assert (await authorize(client)).status == "requires_capture"


@pytest.mark.parametrize("status", [500, 503])
async def test_an_error_has_done_nothing_and_is_not_stored(
    client: Any, sandbox: RunningSandbox, status: int
) -> None:
    sandbox.set_fault("error", status=status)
    with pytest.raises(stripe.APIError) as failed:
        await authorize(client)
    assert failed.value.http_status == status
    assert sandbox.payment_intents() == []
    assert (await authorize(client)).status == "requires_capture"


async def test_a_stored_error_is_the_answer_to_its_key_from_then_on(
    client: Any, sandbox: RunningSandbox
) -> None:
    sandbox.set_fault("error_stored")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            await authorize(client)
        assert failed.value.http_status == 500
    assert headers_of(failed)["Idempotent-Replayed"] == "true"
    assert sandbox.payment_intents() == []
    assert (await authorize(client, "fresh")).status == "requires_capture"


async def test_a_rate_limit_is_not_stored(client: Any, sandbox: RunningSandbox) -> None:
    sandbox.set_fault("rate_limited", times=2)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            await authorize(client)
    assert (await authorize(client)).status == "requires_capture"


async def test_a_request_with_latency_takes_effect_after_the_delay(
    client: Any, sandbox: RunningSandbox
) -> None:
    loop = asyncio.get_running_loop()
    sandbox.set_fault("latency", delay_seconds=0.2, method="POST")
    started = loop.time()
    assert (await authorize(client)).status == "requires_capture"
    assert loop.time() - started >= 0.2


async def test_a_request_is_held_until_its_rule_is_removed(
    client: Any, sandbox: RunningSandbox
) -> None:
    removed = sandbox.set_fault("held", method="POST")
    first = asyncio.create_task(authorize(client, "first"))
    await eventually(lambda: removed.times == 0)
    cleared = sandbox.set_fault("held", method="POST")
    second = asyncio.create_task(authorize(client, "second"))
    await eventually(lambda: cleared.times == 0)
    with pytest.raises(stripe.APIError) as busy:
        await authorize(client, "first")
    assert busy.value.http_status == 409
    assert sandbox.payment_intents() == []

    async with httpx.AsyncClient(base_url=sandbox.url) as http:
        assert (await http.delete(f"/_sandbox/faults/{removed.id}")).status_code == 204
    assert (await first).status == "requires_capture"
    assert len(sandbox.payment_intents()) == 1
    sandbox.clear_faults()
    assert (await second).status == "requires_capture"


async def test_a_client_that_gives_up_waiting_finds_what_was_done(
    client: Any, sandbox: RunningSandbox
) -> None:
    held = sandbox.set_fault("held")
    impatient = asyncio.create_task(authorize(client))
    await eventually(lambda: held.times == 0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    sandbox.clear_faults()
    await eventually(sandbox.payment_intents)
    intent = await authorize(client)
    assert replayed(intent)


async def test_a_fault_applies_only_to_requests_that_match(
    client: Any, sandbox: RunningSandbox
) -> None:
    sandbox.set_fault("error", method="POST", path="/v1/payment_intents/*/capture", times=None)
    intent = await authorize(client)
    for _ in range(3):
        with pytest.raises(stripe.APIError):
            await client.payment_intents.capture_async(intent.id)
    sandbox.clear_faults()
    await client.payment_intents.capture_async(intent.id)


def test_a_star_is_one_segment_and_two_are_any_number() -> None:
    one = FaultRule(kind=FaultKind.ERROR, path="/v1/payment_intents/*")
    assert one.matches("GET", "/v1/payment_intents/pi_1")
    assert not one.matches("GET", "/v1/payment_intents/pi_1/capture")
    assert FaultRule(kind=FaultKind.ERROR).matches("GET", "/v1/payment_intents/pi_1/capture")
    assert not FaultRule(kind=FaultKind.ERROR, path="/v1/a.b").matches("GET", "/v1/axb")


@pytest.mark.parametrize(
    "wrong",
    [{"path": "*"}, {"times": 0}, {"probability": 2}, {"delay_seconds": -1}, {"status": 404}],
)
def test_an_invalid_rule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FaultRule(kind=FaultKind.ERROR, **wrong)


def test_the_same_seed_gives_the_same_faults() -> None:
    draws = []
    for _ in range(2):
        rule = FaultRule(kind=FaultKind.ERROR, probability=0.5, seed=7)
        draws.append([rule.applies_by_chance() for _ in range(50)])
    assert draws[0] == draws[1]
    assert {True, False} == set(draws[0])


async def test_faults_are_made_shown_and_removed_over_http(
    client: Any, sandbox: RunningSandbox
) -> None:
    path = "/_sandbox/faults"
    async with httpx.AsyncClient(base_url=sandbox.url) as http:
        made = await http.post(path, json={"kind": "error", "times": None})
        assert made.status_code == 201
        assert (await http.get(path)).json() == {"faults": [made.json()]}
        with pytest.raises(stripe.APIError):
            await authorize(client)
        assert (await http.delete(f"{path}/{made.json()['id']}")).status_code == 204
        assert (await http.delete(f"{path}/{made.json()['id']}")).status_code == 404
        assert (await authorize(client)).status == "requires_capture"
        await http.post(path, json={"kind": "latency", "match": {"path": "/v1/refunds"}})
        assert (await http.delete(path)).status_code == 204
        assert (await http.get(path)).json() == {"faults": []}
        assert (await http.post(path, json={"kind": "flood"})).status_code == 422
        assert (await http.post(path, json={"kind": "error", "when": 1})).status_code == 422
        assert (await http.post(path, content="kind=error")).status_code == 415


async def test_a_short_balance_refuses_a_refund_and_the_same_key_gets_the_same(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await authorize(client)
    await client.payment_intents.capture_async(intent.id)
    sandbox.set_fault("balance_short", method="POST", path="/v1/refunds")
    params = {"payment_intent": intent.id}
    for mark in (None, "true"):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await client.refunds.create_async(params, {"idempotency_key": "refund"})
        assert refused.value.code == "balance_insufficient"
        assert (refused.value.headers or {}).get("idempotent-replayed") == mark
    refund = await client.refunds.create_async(params, {"idempotency_key": "refund again"})
    assert refund.status == "succeeded"


async def test_a_refund_is_settled_over_http(client: Any, sandbox: RunningSandbox) -> None:
    intent = await authorize(client)
    await client.payment_intents.capture_async(intent.id)
    refund = await client.refunds.create_async({"payment_intent": intent.id})
    path = f"/_sandbox/refunds/{refund.id}"
    async with httpx.AsyncClient(base_url=sandbox.url) as http:
        assert (await http.post(path, json={"status": "odd"})).status_code == 422
        assert (await http.post(path, content="status=failed")).status_code == 415
        assert (await http.post(path, json={"status": "failed"})).status_code == 204
        assert (await http.post(path, json={"status": "failed"})).status_code == 404
    assert (await client.refunds.retrieve_async(refund.id)).status == "failed"


async def test_faults_can_be_forbidden() -> None:
    async with (
        running_sandbox(allow_faults=False) as sandbox,
        httpx.AsyncClient(base_url=sandbox.url) as http,
    ):
        assert (await http.post("/_sandbox/refunds/re_1", json={})).status_code == 404
        assert (await http.post("/_sandbox/faults", json={"kind": "error"})).status_code == 404


async def test_the_ledger_shows_captured_and_refunded_amounts(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await authorize(client, metadata={"order_id": "o1"})
    await client.payment_intents.capture_async(intent.id)
    await client.refunds.create_async({"payment_intent": intent.id, "amount": 500})
    async with httpx.AsyncClient(base_url=sandbox.url) as http:
        assert (await http.get("/healthz")).status_code == 200
        (entry,) = (await http.get("/_sandbox/ledger")).json()["payment_intents"]
    assert entry["id"] == intent.id
    assert (entry["status"], entry["captured"], entry["refunded"]) == ("succeeded", 2000, 500)
    assert entry["metadata"] == {"order_id": "o1"}
