"""The whole marketplace, in one process: API instances, a worker, and Stripe."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from beanie import PydanticObjectId, init_beanie
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from stripe.params import RefundCreateParams
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowHistory
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError

from activities.reconciliation.snapshots import SnapshotReader
from api.app import create_app
from api.resources import resources_of
from api.temporal.connection import TemporalConnection
from stripe_sandbox.testing import RunningSandbox, running_sandbox, stripe_client
from stripe_sandbox.webhooks import sign
from tests.api.conftest import BASE_URL, sign_up
from tests.purchases.contract import CHARGE, Documentation, Json, assert_charge, assert_order
from tests.resources import connected, exchange
from tests.settings import WEBHOOK_SECRET, api_settings
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.invariants import order_violations, ticket_violations
from ticketing.models import DOCUMENT_MODELS, Charge, Order, StripeEvent, Ticket, User
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from ticketing.settings import (
    ApiSettings,
    MongoDBSettings,
    StripeApiSettings,
    StripeBrowserSettings,
)
from ticketing.statuses import OrderStatus
from ticketing.temporal import connect_temporal
from ticketing.workflow_ids import order_workflow_id, refund_workflow_id
from worker import create_worker
from workflows import WORKFLOWS

WEBHOOKS = "/api/webhooks/stripe"

Written = dict[str, list[BSONDocument]]


@dataclass
class Person:
    """Somebody who is signed in, at one instance of the API."""

    http: AsyncClient

    def at(self, http: AsyncClient) -> "Person":
        """The same person, with the same session, elsewhere."""
        http.cookies = self.http.cookies
        return Person(http)

    async def id(self) -> str:
        return str((await self._user())["id"])

    async def email(self) -> str:
        return str((await self._user())["email"])

    async def _user(self) -> Json:
        answer = await self.http.get("/api/users/currentuser")
        user: Json = answer.json()["currentUser"]
        return user

    async def list_ticket(self, *, price: int = 5000, title: str = "Radiohead, Berlin") -> Json:
        answer = await self.http.post("/api/tickets", json={"title": title, "price": price})
        assert answer.status_code == 201, answer.text
        return _json(answer)

    async def ticket(self, ticket: Json) -> Json:
        answer = await self.http.get(f"/api/tickets/{ticket['id']}")
        assert answer.status_code == 200, answer.text
        return _json(answer)

    async def edit(self, ticket: Json, *, price: int, title: str = "Radiohead") -> Response:
        change = {"title": title, "price": price}
        return await self.http.put(f"/api/tickets/{ticket['id']}", json=change)

    async def withdraw(self, ticket: Json) -> Response:
        return await self.http.delete(f"/api/tickets/{ticket['id']}")

    async def ask_for(
        self, ticket: Json, *, price: int | None = None, key: str | None = None
    ) -> Response:
        """Ask for a reservation, at a price or at any; it may be refused."""
        wish = {"ticketId": ticket["id"]} | ({} if price is None else {"price": price})
        return await self.http.post("/api/orders", json=wish, headers=_repeatable(key))

    async def reserve(self, ticket: Json) -> Json:
        """Reserve a ticket, and insist that it was granted."""
        answer = await self.ask_for(ticket)
        assert answer.status_code == 201, answer.text
        return assert_order(answer.json())

    async def order(self, order: Json) -> Json:
        """The order as it is now."""
        answer = await self.http.get(f"/api/orders/{order['id']}")
        assert answer.status_code == 200, answer.text
        return assert_order(answer.json())

    async def orders(self, **query: object) -> Json:
        answer = await self.http.get("/api/orders", params={k: str(v) for k, v in query.items()})
        assert answer.status_code == 200, answer.text
        page = _json(answer)
        assert page.keys() == {"items", "nextCursor"}
        for order in page["items"]:
            assert_order(order)
        return page

    async def cancel(self, order: Json) -> Response:
        return await self.http.delete(f"/api/orders/{order['id']}")

    async def refund(self, order: Json, *, key: str | None = None, **choice: object) -> Response:
        """Ask for a refund of an order of one's own ticket; it may be refused or pending."""
        path = f"/api/orders/{order['id']}/refund"
        return await self.http.post(path, json=choice, headers=_repeatable(key))

    async def pay(
        self, order: Json, payment_method: str = "pm_card_visa", *, key: str | None = None
    ) -> Response:
        """Submit a payment; it may be refused, declined or pending."""
        payment = {"orderId": order["id"], "paymentMethod": payment_method}
        return await self.http.post("/api/payments", json=payment, headers=_repeatable(key))

    async def buy(self, order: Json) -> Json:
        """Pay for an order with a card that works; the completed charge."""
        answer = await self.pay(order)
        assert answer.status_code == 201, answer.text
        return assert_charge(answer.json())

    async def pay_through_the_bank(self, order: Json) -> Json:
        """Pay with a card whose bank wants the buyer; the charge with its client secret."""
        answer = await self.pay(order, "pm_card_authenticationRequired")
        assert answer.status_code == 202, answer.text
        charge = _json(answer)
        assert charge.keys() == CHARGE | {"clientSecret"}
        return charge

    async def sees(self, order: Json, status: str, reason: str | None = None) -> Json:
        """Wait until the order has come to a status, for a reason."""
        expected = (status, reason)

        async def has_come() -> Json | None:
            now = await self.order(order)
            return now if (now["status"], now["cancelReason"]) == expected else None

        found = await eventually(has_come)
        assert found is not None
        return found


@dataclass
class Marketplace:
    """Sellers and buyers on one side, a worker and Stripe on the other."""

    app: FastAPI
    settings: ApiSettings
    sandbox: RunningSandbox
    temporal: Client
    mongo: AsyncMongoClient[BSONDocument]
    gateway: StripeGateway
    documentation: Documentation
    stack: AsyncExitStack = field(repr=False)

    def set_rules(self, **rules: object) -> None:
        """Give the API other rules for purchases, from its next request on."""
        self._set(purchase=self.settings.purchase.model_copy(update=rules))

    def set_webhook_secret(self, secret: str) -> None:
        """Give the API another secret for webhooks, from its next request on."""
        self._set(stripe=StripeBrowserSettings(webhook_secret=SecretStr(secret)))

    def _set(self, **changes: object) -> None:
        self.settings = self.settings.model_copy(update=changes)
        exchange(self.app, settings=self.settings)

    async def lose_temporal(self) -> None:
        """From now on the API finds no Temporal; the worker still does."""
        nobody_listens = ClientConfigProfile(address="127.0.0.1:1")
        connection = TemporalConnection(partial(connect_temporal, nobody_listens))
        exchange(self.app, temporal=connection)

    def find_temporal(self) -> None:
        """The API finds Temporal again."""
        exchange(self.app, temporal=connected(self.temporal))

    async def open_api(self, settings: ApiSettings | None = None, *, bind: bool = True) -> FastAPI:
        """Another instance of the API, with connections of its own.

        Beanie keeps one MongoDB client for the whole process: the test's, unless told otherwise.
        """
        app = create_app(settings or self.settings)
        await self.stack.enter_async_context(app.router.lifespan_context(app))
        if bind:
            await self.bind_documents()
        return app

    async def bind_documents(self) -> None:
        """Let all documents go through the test's own client."""
        database = self.mongo[self.settings.mongodb.database]
        await init_beanie(database=database, document_models=DOCUMENT_MODELS, skip_indexes=True)

    @asynccontextmanager
    async def working(self, workflows: Sequence[type] = WORKFLOWS) -> AsyncIterator[None]:
        """Carry orders out as long as the block runs; a control brings its own workflows."""
        worker = create_worker(
            self.temporal,
            task_queue=self.settings.task_queue,
            mongo=self.mongo,
            gateway=self.gateway,
            workflows=workflows,
        )
        async with worker:
            try:
                yield
            finally:
                await self._end_what_cannot_end()

    async def _end_what_cannot_end(self) -> None:
        """A worker does not stop while a step is repeated for ever, as in some failing tests."""
        for order in await Order.find({"status": OrderStatus.CANCELLED}).to_list():
            with suppress(RPCError):
                await self._workflow_of(str(order.id)).terminate()

    def _workflow_of(self, order_id: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(order_workflow_id(order_id))

    def visit(self, app: FastAPI | None = None) -> AsyncClient:
        """A browser of its own, each answer of which is compared with the OpenAPI page."""
        return AsyncClient(
            transport=ASGITransport(app or self.app),
            base_url=BASE_URL,
            event_hooks={"response": [self.documentation.check]},
        )

    async def somebody(self) -> Person:
        """Somebody who has just signed up."""
        http = self.visit()
        await sign_up(http)
        return Person(http)

    def crowd(self, size: int, *apps: FastAPI) -> list[Person]:
        """Many people, spread over instances of the API; signing up would take them seconds."""
        people = []
        for number in range(size):
            app = apps[number % len(apps)] if apps else self.app
            user = User(
                id=PydanticObjectId(),
                email=f"{uuid4().hex}@example.com",
                password_hash="",
                created_at=utc_now(),
            )
            http = self.visit(app)
            http.headers["Authorization"] = f"Bearer {resources_of(app).sessions.issue(user)}"
            people.append(Person(http))
        return people

    async def deliver(
        self, event: Json, *, secret: str = WEBHOOK_SECRET, age_seconds: int = 0
    ) -> Response:
        """Post an event as Stripe does."""
        payload = json.dumps(event)
        return await self.post(payload, sign(payload, secret, int(time.time()) - age_seconds))

    async def post(self, payload: str, signature: str | None) -> Response:
        """Post to the webhook's endpoint whatever it is."""
        headers = [(b"Content-Type", b"application/json")]
        if signature is not None:
            headers.append((b"Stripe-Signature", signature.encode("latin-1")))
        return await self.visit().post(WEBHOOKS, content=payload, headers=headers)

    async def webhooks_are_delivered(self) -> None:
        """Wait until Stripe has been heard to the end."""
        await eventually(lambda: not self.sandbox.ledger.deliveries())

    def events(self, type: str) -> list[Json]:
        """Stripe's events of a type, oldest first."""
        return [event for event in self.sandbox.events() if event["type"] == type]

    def captured(self) -> list[int]:
        """What Stripe has captured, one amount for each captured intent."""
        intents = self.sandbox.payment_intents()
        return [i["amount_received"] for i in intents if i["amount_received"]]

    def refunded(self, intent_id: str | None) -> int:
        """What Stripe has given back of an intent."""
        (entry,) = [entry for entry in self.sandbox.summary() if entry["id"] == intent_id]
        refunded: int = entry["refunded"]
        return refunded

    def refund_of(self, order: Json) -> WorkflowHandle[Any, Any]:
        """The workflow that refunds the order."""
        return self.temporal.get_workflow_handle(refund_workflow_id(order["id"]))

    async def refund_at_stripe(self, order: Json, *, amount: int | None = None) -> Json:
        """Refund an order's payment in Stripe's own dashboard, all of it or an amount."""
        (intent,) = [
            intent
            for intent in self.sandbox.payment_intents()
            if intent["metadata"]["order_id"] == order["id"] and intent["amount_received"]
        ]
        wanted: RefundCreateParams = {"payment_intent": intent["id"]}
        if amount is not None:
            wanted["amount"] = amount
        async with stripe_client(self.sandbox.url) as dashboard:
            refund = await dashboard.v1.refunds.create_async(wanted)
        return dict(refund.to_dict())

    def intent_of(self, charge: Json) -> Json:
        """Stripe's intent behind a charge."""
        return self.sandbox.payment_intent(charge["stripeId"])

    async def terminate(self, order: Json) -> None:
        """End the order's workflow where it stands, as nobody should."""
        await self._workflow_of(order["id"]).terminate()

    async def history(self, order: Json) -> WorkflowHistory:
        """Everything that Temporal keeps of the order's workflow."""
        return await self._workflow_of(order["id"]).fetch_history()

    async def times_signalled(self, order: Json, signal: str) -> int:
        """How often the order's workflow was sent the signal."""
        events = (await self.history(order)).events
        names = [e.workflow_execution_signaled_event_attributes.signal_name for e in events]
        return names.count(signal)

    async def written(self) -> Written:
        """Every ticket, order and charge, as it is stored."""
        collections = [model.get_pymongo_collection() for model in (Ticket, Order, Charge)]
        return {c.name: await c.find().sort("_id").to_list() for c in collections}

    async def remembers(self, event: Json) -> bool:
        """Whether the event counts as acted on."""
        return await StripeEvent.get(event["id"]) is not None

    async def is_consistent(self) -> None:
        """Assert that no order and no ticket violates an invariant, once nothing moves."""
        snapshots = SnapshotReader(self.mongo, self.gateway, self.temporal)
        for order in await Order.find().to_list():
            assert await eventually(partial(self.runs_while_open, order))
            snapshot = await snapshots.order_snapshot(str(order.id), self._intents_of(order))
            assert order_violations(snapshot) == []
        for ticket in await Ticket.find().to_list():
            holder = await snapshots.ticket_snapshot(str(ticket.id))
            assert holder is not None
            assert ticket_violations(holder) == []

    def _intents_of(self, order: Order) -> list[str]:
        intents = self.sandbox.payment_intents()
        return [i["id"] for i in intents if i["metadata"]["order_id"] == str(order.id)]

    async def runs_while_open(self, order: Order) -> bool:
        running = (
            await self._workflow_of(str(order.id)).describe()
        ).status is WorkflowExecutionStatus.RUNNING
        return running is not order.status.is_closed


@asynccontextmanager
async def open_marketplace(
    mongodb: AsyncMongoClient[BSONDocument],
    mongodb_settings: MongoDBSettings,
    temporal_address: str,
    documentation: Documentation,
) -> AsyncIterator[Marketplace]:
    """A marketplace with one instance of the API and, so far, nobody who works."""
    settings = api_settings(mongodb_settings, temporal_address)
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        sandbox = await stack.enter_async_context(
            running_sandbox(
                webhook_urls=(BASE_URL + WEBHOOKS,),
                webhook_secret=WEBHOOK_SECRET,
                webhook_transport=ASGITransport(app),
            )
        )
        temporal = await connect_temporal(settings.temporal)
        gateway = StripeGateway(
            StripeApiSettings(api_key=SecretStr("sk_test_sandbox"), api_base=sandbox.url)
        )
        stack.push_async_callback(gateway.close)
        market = Marketplace(
            app=app,
            settings=settings,
            sandbox=sandbox,
            temporal=temporal,
            mongo=mongodb,
            gateway=gateway,
            documentation=documentation,
            stack=stack,
        )
        await market.bind_documents()
        yield market


def _repeatable(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def _json(answer: Response) -> Json:
    body: Any = answer.json()
    assert isinstance(body, dict)
    return body
