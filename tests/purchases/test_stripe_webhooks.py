"""Webhooks: believed only when signed, acted on once, and never lost."""

import asyncio
import json

import pytest
from pymongo.errors import AutoReconnect

from api.payments.webhooks import StripeWebhookService
from api.temporal.orders import OrderWorkflowClient
from stripe_sandbox.webhooks import sign
from tests.api.conftest import assert_problem
from tests.databases import refusing
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.settings import WEBHOOK_SECRET
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.models import Order, StripeEvent
from ticketing.payments.webhooks import IntentEvent

APPROVED = "payment_intent.amount_capturable_updated"
SIGNAL = "payment_intent_changed"
RECEIVED = {"received": True}
LOST = "http://127.0.0.1:1/"


@pytest.fixture
async def order(market: Marketplace, seller: Person, buyer: Person) -> Json:
    """An order whose buyer the bank has approved; Stripe's news of it are still on their way."""
    market.sandbox.deliver_webhooks_to(LOST, "whsec_lost")
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"])
    return order


@pytest.fixture
def event(market: Marketplace, order: Json) -> Json:
    """The event that says so."""
    (event,) = market.events(APPROVED)
    return event


async def test_a_signed_event_is_taken_acted_on_and_remembered(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    answer = await market.deliver(event)
    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert await market.remembers(event)
    await buyer.sees(order, "completed")
    await market.is_consistent()


async def test_stripes_own_deliveries_are_acknowledged_every_one(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"])
    await buyer.sees(order, "completed")
    await market.webhooks_are_delivered()
    assert all(event["pending_webhooks"] == 0 for event in market.sandbox.events())
    (event,) = market.events(APPROVED)
    assert await market.remembers(event)


async def test_a_payment_that_stripe_has_answered_for_signals_and_keeps_nothing(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)
    await market.webhooks_are_delivered()

    events = market.events(APPROVED) + market.events("payment_intent.succeeded")
    assert len(events) == 2
    for event in events:
        assert (await market.deliver(event)).status_code == 200
        assert not await market.remembers(event)
    assert await market.times_signalled(order, SIGNAL) == 0


async def test_an_order_that_waits_for_the_bank_is_not_signalled_for_its_own_request(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    key = f"order:{order['id']}:attempt:1:authorize"
    own = event | {"request": {"id": "req_1", "idempotency_key": key}}
    assert (await market.deliver(own)).status_code == 200
    assert await market.times_signalled(order, SIGNAL) == 0
    assert not await market.remembers(event)

    # Control: the bank caused the same event.
    assert event["request"] == {"id": None, "idempotency_key": None}
    assert (await market.deliver(event)).status_code == 200
    await buyer.sees(order, "completed")
    assert await market.times_signalled(order, SIGNAL) == 1


async def test_an_event_of_another_orders_request_signals(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    key = f"order:{'0' * 24}:attempt:1:authorize"
    foreign = event | {"request": {"id": "req_1", "idempotency_key": key}}
    assert (await market.deliver(foreign)).status_code == 200
    await buyer.sees(order, "completed")


async def test_what_stripe_did_not_sign_or_not_so_is_refused_and_nothing_comes_of_it(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    payload = json.dumps(event)
    good = sign(payload, WEBHOOK_SECRET, int(utc_now().timestamp()))
    answers = [
        await market.post(payload, None),
        await market.post(payload, ""),
        await market.post(payload, "t=1,v1=00"),
        await market.post(payload, "nonsense"),
        await market.post(payload, "t=1,v1=é"),
        await market.post(payload + " ", good),
        await market.post(payload.replace(order["id"], "0" * 24), good),
        await market.post("", good),
        await market.post("{", good),
        await market.deliver(event, secret="whsec_of_somebody_else"),
        await market.deliver(event, age_seconds=6 * 60),
    ]
    for answer in answers:
        assert_problem(answer, 400, "invalid_signature")
    assert await market.times_signalled(order, SIGNAL) == 0
    assert not await market.remembers(event)
    assert (await buyer.order(order))["status"] == "awaiting_payment"


async def test_without_a_secret_the_endpoint_is_not_there(
    market: Marketplace, order: Json, event: Json
) -> None:
    market.set_webhook_secret("")
    for secret in (WEBHOOK_SECRET, ""):
        assert_problem(await market.deliver(event, secret=secret), 404, "not_found")
    assert await market.times_signalled(order, SIGNAL) == 0


async def test_an_event_that_is_not_acted_on_is_acknowledged_and_forgotten(
    market: Marketplace, order: Json, event: Json
) -> None:
    for kind in ("charge.succeeded", "payment_intent.created", "customer.created", "x.y"):
        answer = await market.deliver(event | {"type": kind})
        assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert await market.times_signalled(order, SIGNAL) == 0
    assert not await market.remembers(event)


@pytest.mark.parametrize("metadata", [{"order_id": "0" * 24}, {"order_id": "x"}, {}], ids=str)
async def test_an_event_of_somebody_elses_payment_is_acknowledged(
    market: Marketplace, order: Json, event: Json, metadata: dict[str, str]
) -> None:
    event["data"]["object"]["metadata"] = metadata
    assert (await market.deliver(event)).status_code == 200
    assert await market.times_signalled(order, SIGNAL) == 0


async def test_an_event_delivered_again_has_no_second_effect(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    for _ in range(3):
        assert (await market.deliver(event)).status_code == 200
    await buyer.sees(order, "completed")
    assert (await market.deliver(event)).status_code == 200
    assert await market.times_signalled(order, SIGNAL) == 1
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_an_event_delivered_many_times_at_once_has_one_effect(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    answers = await asyncio.gather(*(market.deliver(event) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    await buyer.sees(order, "completed")
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_late_news_of_a_closed_order_are_acknowledged_and_change_nothing(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    await market.deliver(event)
    completed = await buyer.sees(order, "completed")
    before = await market.written()
    await eventually_closed(market, order)
    for kind in ("payment_intent.succeeded", "payment_intent.payment_failed"):
        late = event | {"id": f"evt_{kind}", "type": kind}
        assert (await market.deliver(late)).status_code == 200
        assert not await market.remembers(late)
    assert await market.written() == before
    assert await buyer.order(order) == completed


async def test_news_in_the_wrong_order_are_only_a_reason_to_ask_stripe(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    # Each of these says what is not so: Stripe is asked, and says authorized.
    for kind in ("payment_intent.payment_failed", "payment_intent.canceled", APPROVED):
        claimed = event | {"id": f"evt_{kind}", "type": kind}
        assert (await market.deliver(claimed)).status_code == 200
    await buyer.sees(order, "completed")
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_news_of_an_approval_that_did_not_happen_complete_nothing(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    await market.webhooks_are_delivered()
    (event,) = market.events("payment_intent.requires_action")
    for kind in (APPROVED, "payment_intent.succeeded"):
        claimed = event | {"id": f"evt_{kind}", "type": kind, "request": None}
        assert (await market.deliver(claimed)).status_code == 200
    await eventually(lambda: market.sandbox.count("GET", "/v1/payment_intents/*"))
    assert (await buyer.order(order))["status"] == "awaiting_payment"
    assert market.captured() == []
    market.sandbox.authenticate(charge["stripeId"])
    await buyer.sees(order, "completed")


async def test_an_event_that_cannot_be_handed_over_is_refused_until_it_can(
    market: Marketplace, buyer: Person, order: Json, event: Json
) -> None:
    await market.lose_temporal()
    answer = await market.deliver(event)
    assert_problem(answer, 503, "temporal_unavailable")
    assert not await market.remembers(event)
    assert (await buyer.order(order))["status"] == "awaiting_payment"

    market.find_temporal()
    assert (await market.deliver(event)).status_code == 200
    await buyer.sees(order, "completed")
    await market.is_consistent()


async def test_stripe_itself_delivers_again_what_could_not_be_handed_over(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    await market.lose_temporal()
    market.sandbox.authenticate(charge["stripeId"])
    await eventually(lambda: any(owed.failures for owed in market.sandbox.ledger.deliveries()))
    market.find_temporal()
    await buyer.sees(order, "completed")
    await market.webhooks_are_delivered()


async def test_a_crash_before_the_event_is_remembered_loses_nothing(
    market: Marketplace,
    buyer: Person,
    order: Json,
    event: Json,
) -> None:
    async with refusing(StripeEvent):
        assert_problem(await market.deliver(event), 503, "mongodb_unavailable")
    # The signal came first, and so the order goes on; Stripe's next try changes nothing.
    await buyer.sees(order, "completed")
    assert (await market.deliver(event)).status_code == 200
    assert await market.times_signalled(order, SIGNAL) == 1
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_control_an_event_that_is_remembered_first_is_lost_in_a_crash(
    market: Marketplace,
    buyer: Person,
    order: Json,
    event: Json,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def take(service: StripeWebhookService, event: IntentEvent) -> None:
        if await StripeEvent.get(event.id) is None:
            await service._mark_seen(event)
            await service._signal(event)

    async def crash(_workflows: OrderWorkflowClient, _order: object, _intent: str) -> None:
        raise AutoReconnect("the process is gone")

    monkeypatch.setattr(StripeWebhookService, "take", take)
    with monkeypatch.context() as crashing:
        crashing.setattr(OrderWorkflowClient, "notify_intent", crash)
        assert_problem(await market.deliver(event), 503, "mongodb_unavailable")
    assert (await market.deliver(event)).status_code == 200
    assert await market.times_signalled(order, SIGNAL) == 0
    assert (await buyer.order(order))["status"] == "awaiting_payment"


async def eventually_closed(market: Marketplace, order: Json) -> None:
    """Wait until the order's workflow takes no signal any more."""
    found = await Order.get(order["id"])
    assert found is not None
    await eventually(lambda: market.runs_while_open(found))
