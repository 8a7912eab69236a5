"""Webhooks: signed, repeated until acknowledged, never lost and never in the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stripe_sandbox.config import SandboxConfig
from stripe_sandbox.testing import RunningSandbox, running_sandbox, stripe_client
from tests.waiting import eventually

SECRET = "whsec_of_the_tests"
URL = "http://api.example/webhooks"


class Endpoint:
    """A merchant's webhook endpoint that answers as it is told and remembers what came."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[bytes, str]] = []
        self.hold: asyncio.Event | None = None

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        self.received.append((body, request.headers["stripe-signature"]))
        if self.hold is not None:
            await self.hold.wait()
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)

    @property
    def events(self) -> list[stripe.Event]:
        return [
            stripe.Webhook.construct_event(body, signature, SECRET, api_key="sk_test_x")
            for body, signature in self.received
        ]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def causes(self) -> dict[str, Any]:
        """By an event's type, the API request that it names as its cause."""
        return {event.type: event.to_dict()["request"] for event in self.events}

    @property
    def transport(self) -> httpx.ASGITransport:
        app = Starlette(routes=[Route("/webhooks", self.receive, methods=["POST"])])
        return httpx.ASGITransport(app)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
async def sandbox(endpoint: Endpoint) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(
        webhook_urls=(URL,), webhook_secret=SECRET, webhook_transport=endpoint.transport
    ) as running:
        yield running


async def settled(sandbox: RunningSandbox) -> None:
    await eventually(lambda: sandbox.ledger.deliveries() == [])


def authorize(client: Any, method: str = "pm_card_visa", **more: Any) -> Any:
    return client.payment_intents.create_async(
        {
            "amount": 2000,
            "currency": "usd",
            "payment_method": method,
            "payment_method_types": ["card"],
            "confirm": True,
            "capture_method": "manual",
            **more,
        },
        {"idempotency_key": "authorize"},
    )


async def test_every_change_is_an_event_that_stripe_can_verify(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    intent = await authorize(client)
    await client.payment_intents.capture_async(intent.id)
    await client.refunds.create_async({"payment_intent": intent.id})
    await settled(sandbox)
    assert set(endpoint.types) == {
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
    }
    assert len(endpoint.types) == 7
    event = next(event for event in endpoint.events if event.type == "payment_intent.succeeded")
    assert event.data.object.id == intent.id
    assert event.data.object.amount_received == 2000


async def test_only_enabled_events_are_delivered_and_all_are_listed(endpoint: Endpoint) -> None:
    async with (
        running_sandbox(
            webhook_urls=(URL,),
            webhook_secret=SECRET,
            webhook_transport=endpoint.transport,
            enabled_events=frozenset({"payment_intent.succeeded", "refund.created"}),
        ) as sandbox,
        stripe_client(sandbox.url) as client,
    ):
        intent = await authorize(client.v1)
        await client.v1.payment_intents.capture_async(intent.id)
        await settled(sandbox)
        assert endpoint.types == ["payment_intent.succeeded"]
        assert {event["type"] for event in sandbox.events()} > {"charge.succeeded"}
        assert all(event["pending_webhooks"] == 0 for event in sandbox.events())


async def test_events_are_listed_and_no_longer_pending_once_delivered(
    client: Any, sandbox: RunningSandbox
) -> None:
    await authorize(client)
    await settled(sandbox)
    listed = await client.events.list_async({"type": "charge.succeeded"})
    (event,) = listed.data
    assert event.pending_webhooks == 0
    assert (await client.events.retrieve_async(event.id)).data.object.object == "charge"


@pytest.mark.parametrize(
    ("method", "approve", "types"),
    [
        ("pm_card_chargeDeclined", None, {"charge.failed", "payment_intent.payment_failed"}),
        ("pm_card_authenticationRequired", None, {"payment_intent.requires_action"}),
        (
            "pm_card_authenticationRequired",
            True,
            {
                "payment_intent.requires_action",
                "charge.succeeded",
                "payment_intent.amount_capturable_updated",
            },
        ),
        (
            "pm_card_authenticationRequired",
            False,
            {"payment_intent.requires_action", "payment_intent.payment_failed"},
        ),
    ],
)
async def test_every_outcome_of_a_payment_has_its_events(
    client: Any,
    sandbox: RunningSandbox,
    endpoint: Endpoint,
    method: str,
    approve: bool | None,
    types: set[str],
) -> None:
    try:
        await authorize(client, method)
    except stripe.CardError:
        assert approve is None
    if approve is not None:
        (intent,) = sandbox.payment_intents()
        sandbox.authenticate(intent["id"], approve=approve)
    await settled(sandbox)
    assert set(endpoint.types) == {"payment_intent.created"} | types
    assert len(endpoint.types) == len(types) + 1


async def test_an_event_names_the_api_request_that_caused_it(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    first = await authorize(client)
    again = await authorize(client)
    captured = await client.payment_intents.capture_async(first.id)
    await settled(sandbox)

    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    causes = endpoint.causes
    assert causes["payment_intent.amount_capturable_updated"] == {
        "id": first.last_response.request_id,
        "idempotency_key": "authorize",
    }
    assert causes["payment_intent.succeeded"] == {
        "id": captured.last_response.request_id,
        # The client makes one where it is given none.
        "idempotency_key": captured.last_response.headers["Idempotency-Key"],
    }


@pytest.mark.parametrize("approve", [True, False])
async def test_an_event_of_the_buyers_decision_at_the_bank_names_no_request(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint, approve: bool
) -> None:
    intent = await authorize(client, "pm_card_authenticationRequired")
    sandbox.authenticate(intent.id, approve=approve)
    await settled(sandbox)
    outcome = "amount_capturable_updated" if approve else "payment_failed"
    causes = endpoint.causes
    assert causes["payment_intent.requires_action"]["idempotency_key"] == "authorize"
    assert causes[f"payment_intent.{outcome}"] == {"id": None, "idempotency_key": None}


async def test_an_event_of_a_refund_that_settles_later_names_no_request(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    intent = await authorize(client, "pm_card_pendingRefund")
    await client.payment_intents.capture_async(intent.id)
    refund = await client.refunds.create_async(
        {"payment_intent": intent.id}, {"idempotency_key": "refund"}
    )
    sandbox.settle_refund(refund.id)
    await settled(sandbox)
    causes = endpoint.causes
    assert causes["refund.created"]["idempotency_key"] == "refund"
    assert causes["refund.updated"] == {"id": None, "idempotency_key": None}


async def test_cancelling_is_an_event(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    intent = await authorize(client)
    await client.payment_intents.cancel_async(intent.id)
    await settled(sandbox)
    assert {"payment_intent.canceled", "charge.refunded"} < set(endpoint.types)


async def test_a_refused_delivery_is_repeated_with_the_same_event(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    endpoint.statuses = [500, 302]
    await client.payment_intents.create_async({"amount": 2000, "currency": "usd"})
    await settled(sandbox)
    assert len(endpoint.received) == 3
    assert len({event.id for event in endpoint.events}) == 1


async def test_a_replayed_answer_is_no_new_event(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    await authorize(client)
    await authorize(client)
    await settled(sandbox)
    assert len(endpoint.types) == 3


async def test_a_slow_webhook_endpoint_delays_no_request(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    endpoint.hold = asyncio.Event()
    intent = await authorize(client)
    await eventually(lambda: endpoint.received)
    assert (await client.payment_intents.capture_async(intent.id)).status == "succeeded"
    endpoint.hold.set()
    await settled(sandbox)


async def test_more_events_than_are_delivered_at_once_all_arrive(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    for number in range(150):
        await client.payment_intents.create_async({"amount": 2000 + number, "currency": "usd"})
    await settled(sandbox)
    assert len({event.id for event in endpoint.events}) == 150


async def test_a_change_that_failed_is_no_event(
    client: Any, sandbox: RunningSandbox, endpoint: Endpoint
) -> None:
    sandbox.set_fault("error_stored")
    with pytest.raises(stripe.APIError):
        await authorize(client)
    assert sandbox.events() == []


async def test_events_pending_at_a_restart_are_delivered_after_it(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    database = tmp_path / "stripe.sqlite3"
    owing: dict[str, Any] = {"database": database, "webhook_urls": (URL,), "webhook_secret": SECRET}
    down = httpx.MockTransport(lambda request: httpx.Response(503))
    async with running_sandbox(**owing, webhook_transport=down) as sandbox:
        async with stripe_client(sandbox.url) as stripe_api:
            await authorize(stripe_api.v1)
        owed = {delivery.event for delivery in sandbox.ledger.deliveries()}
    assert len(owed) == 3

    async with running_sandbox(**owing, webhook_transport=endpoint.transport) as sandbox:
        await settled(sandbox)
    assert {event.id for event in endpoint.events} == owed


async def test_each_event_goes_to_one_of_several_urls_that_acknowledges_it() -> None:
    taken: dict[str, list[str]] = {"one": [], "two": [], "down": [], "broken": []}

    def answer(request: httpx.Request) -> httpx.Response:
        taken[request.url.host].append(json.loads(request.content)["id"])
        match request.url.host:
            case "down":
                raise httpx.ConnectError("nobody listens")
            case "broken":
                return httpx.Response(500)
        return httpx.Response(200)

    async with (
        running_sandbox(
            webhook_urls=tuple(f"http://{host}/webhooks" for host in taken),
            webhook_secret=SECRET,
            webhook_transport=httpx.MockTransport(answer),
        ) as sandbox,
        stripe_client(sandbox.url) as stripe_api,
    ):
        for number in range(8):
            await stripe_api.v1.payment_intents.create_async(
                {"amount": 2000 + number, "currency": "usd"}
            )
        await settled(sandbox)
        events = [event["id"] for event in sandbox.events()]
    assert sorted(taken["one"] + taken["two"]) == sorted(events)
    assert all(taken.values())


async def test_a_webhook_endpoint_can_be_set_later(endpoint: Endpoint) -> None:
    async with (
        running_sandbox(webhook_transport=endpoint.transport) as sandbox,
        stripe_client(sandbox.url) as stripe_api,
    ):
        client = stripe_api.v1
        await client.payment_intents.create_async({"amount": 2000, "currency": "usd"})
        sandbox.deliver_webhooks_to(URL, SECRET)
        await client.payment_intents.create_async({"amount": 3000, "currency": "usd"})
        await settled(sandbox)
        assert [event.data.object.amount for event in endpoint.events] == [3000]


def test_a_url_without_a_secret_is_refused_and_a_secret_is_never_shown() -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        SandboxConfig(webhook_urls=(URL,))
    with pytest.raises(ValueError, match="http"):
        SandboxConfig(webhook_urls=("ftp://api.example/",), webhook_secret=SECRET)
    assert SECRET not in repr(SandboxConfig(webhook_urls=(URL,), webhook_secret=SECRET))
