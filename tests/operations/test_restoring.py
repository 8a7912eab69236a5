"""A backup of one database beside a newer other one: what is found, and what puts it right.

This is what `docs/operations.md` tells whoever has to restore.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from devstack.settings import StackSettings
from devstack.stack import Stack
from devstack.temporal import find_temporal
from tests.devstack.waiting import eventually
from tests.operations.scenes import Json, Market, Scene, open_market
from ticketing.invariants import Scope
from ticketing.mongodb import BSONDocument
from workflows.reconciliation import ReconciliationInput, ReconciliationWorkflow

pytestmark = pytest.mark.long

PAST_DEADLINES_MS = 2 * 3600 * 1000
"""Longer than an order that Temporal knows nothing of is left alone after its deadline."""


@dataclass(frozen=True)
class Past:
    """What happened, and copies of what was kept before and after the later half of it."""

    settings: StackSettings
    before: Path
    after: Path
    orders: dict[str, Scene]

    @contextmanager
    def restored(self, *older: str) -> Iterator["Restored"]:
        """The newest of everything, but for what is named; Stripe forgets nothing."""
        shutil.rmtree(self.settings.stack_dir)
        shutil.copytree(self.after, self.settings.stack_dir)
        for name in older:
            for kept in self.settings.stack_dir.glob(f"{name}*"):
                shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
            for kept in self.before.glob(f"{name}*"):
                copy = shutil.copytree if kept.is_dir() else shutil.copy
                copy(kept, self.settings.stack_dir / kept.name)
        with Stack(self.settings, _environment()) as stack, open_market(stack) as market:
            yield Restored(stack, market, self.orders)


@dataclass(frozen=True)
class Restored:
    """A stack with an older database in it."""

    stack: Stack
    market: Market
    orders: dict[str, Scene]

    def check(self) -> dict[str, str]:
        """Reconcile everything; which violations there are for each of the orders."""
        asyncio.run(self._reconcile())
        headers = {"Authorization": f"Bearer {self.stack.environment['OPERATOR_TOKEN']}"}
        found: dict[str, str] = {}
        names = {scene.order: name for name, scene in self.orders.items()}
        for status in ("open", "repaired", "resolved"):
            url = f"{self.stack.urls['api']}/api/operations/invariants"
            answer = httpx.get(url, params={"status": status}, headers=headers)
            for finding in answer.json()["items"]:
                found[names[finding["orderId"]]] = f"{finding['code']}: {status}"
        return found

    async def _reconcile(self) -> None:
        client = await Client.connect(
            self.stack.settings.temporal_address, data_converter=pydantic_data_converter
        )
        await client.execute_workflow(
            ReconciliationWorkflow.run,
            ReconciliationInput(scope=Scope.FULL, pause=timedelta(milliseconds=100)),
            id=f"reconciliation-{uuid4().hex}",
            task_queue=self.stack.environment["TASK_QUEUE"],
        )

    def statuses(self) -> dict[str, str]:
        return {name: self.status(name) for name in self.orders}

    def status(self, name: str) -> str:
        order = self.market.order(self.orders[name])
        return str(order.get("code", order["status"]))

    def intent(self, name: str) -> Json:
        """The one payment intent that Stripe has for the order."""
        (intent,) = self.intents(name)
        return intent

    def intents(self, name: str) -> list[Json]:
        ledger = httpx.get(f"{self.stack.urls['stripe_sandbox']}/_sandbox/ledger").json()
        order = self.orders[name].order
        intents: list[Json] = ledger["payment_intents"]
        return [intent for intent in intents if intent["metadata"]["order_id"] == order]

    def cancel(self, name: str) -> None:
        """What the button *Request Cancellation* does."""
        self._temporal("cancel", name)

    def ask_stripe(self, name: str) -> None:
        news = ["--name", "payment_intent_changed", "--input", '{"intent_id": "look again"}']
        self._temporal("signal", name, *news)

    def pay_by_hand(self, name: str) -> None:
        payment = {"charge_id": str(ObjectId()), "payment_method": "pm_card_visa"}
        self._temporal(
            "signal", name, "--name", "payment_submitted", "--input", json.dumps(payment)
        )

    def terminate(self, name: str) -> None:
        self._temporal("terminate", name)

    def runs(self, name: str) -> bool:
        return "Running" in self._temporal("describe", name)

    def _temporal(self, verb: str, name: str, *more: str) -> str:
        command = [str(find_temporal()), "workflow", verb]
        command += ["--workflow-id", f"order:{self.orders[name].order}"]
        command += [*more, "--address", self.stack.settings.temporal_address]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def enter_lost_payment(self, name: str) -> None:
        """Write what an older MongoDB has lost of a payment that Stripe has captured."""
        order, intent = ObjectId(self.orders[name].order), self.intent(name)
        with self._database() as database:
            database["charges"].insert_one(
                {
                    "order_id": order,
                    "attempt": int(intent["metadata"]["attempt"]),
                    "status": "created",
                    "amount": intent["amount"],
                    "currency": intent["currency"],
                    "stripe_id": intent["id"],
                    "created_at": datetime.fromtimestamp(intent["created"], UTC),
                }
            )
            paying = {"$set": {"status": "awaiting_payment"}}
            database["orders"].update_one({"_id": order, "status": "created"}, paying)

    def let_an_hour_pass(self, *names: str) -> None:
        """Put the orders' deadlines as far into the past as the reconciliation waits for."""
        orders = [ObjectId(self.orders[name].order) for name in names]
        earlier = {"expires_at": {"$subtract": ["$expires_at", PAST_DEADLINES_MS]}}
        with self._database() as database:
            database["orders"].update_many({"_id": {"$in": orders}}, [{"$set": earlier}])

    @contextmanager
    def _database(self) -> Iterator[Database[BSONDocument]]:
        url = self.stack.environment["MONGODB_URL"]
        with MongoClient[BSONDocument](url) as client:
            yield client[self.stack.environment["MONGODB_DATABASE"]]


def _environment() -> dict[str, str]:
    return {**os.environ, "STRIPE_API_KEY": "", "PAYMENT_WAIT": "5"}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    directory = tmp_path_factory.mktemp("restoring")
    settings = StackSettings.on_free_ports(directory / "stack")
    orders: dict[str, Scene] = {}
    with Stack(settings, _environment()) as stack, open_market(stack) as market:
        orders["completed"] = market.is_completed()
        orders["paid later"] = market.waits_for_payment()
        orders["cancelled later"] = market.waits_for_payment()
        orders["confirmed later"] = market.waits_for_the_bank()
        orders["paid and forgotten"] = market.waits_for_payment()
        orders["untouched"] = market.waits_for_payment()
    shutil.copytree(settings.stack_dir, directory / "before")
    with Stack(settings, _environment()) as stack, open_market(stack) as market:
        market.pays(orders["paid later"])
        market.pays(orders["paid and forgotten"])
        market.confirms(orders["confirmed later"])
        assert market.buyer.delete(f"/api/orders/{orders['cancelled later'].order}").is_success
        orders["new, completed"] = market.is_completed()
        orders["new, waits"] = market.waits_for_payment()
        orders["new, at the bank"] = market.waits_for_the_bank()
    shutil.copytree(settings.stack_dir, directory / "after")
    return Past(settings, directory / "before", directory / "after", orders)


def test_an_older_mongodb_beside_a_newer_temporal(past: Past) -> None:
    with past.restored("mongodb") as restored:
        found = {
            "new, completed": "captured_for_unknown_order: open",
            "paid later": "open_order_without_workflow: open",
            "paid and forgotten": "open_order_without_workflow: open",
            "confirmed later": "open_order_without_workflow: repaired",
            "cancelled later": "open_order_without_workflow: repaired",
        }
        assert restored.check() == found
        assert restored.statuses() == {
            "completed": "completed",
            "paid later": "created",
            "cancelled later": "cancelled",
            "confirmed later": "completed",
            "paid and forgotten": "created",
            "untouched": "created",
            "new, completed": "order_not_found",
            "new, waits": "order_not_found",
            "new, at the bank": "order_not_found",
        }

        restored.enter_lost_payment("paid later")
        restored.terminate("new, waits")
        restored.terminate("new, at the bank")

        assert restored.check() == found | {
            "paid later": "open_order_without_workflow: repaired",
            "new, at the bank": "abandoned_authorization: repaired",
        }
        assert restored.status("paid later") == "completed"
        ticket = restored.market.buyer.get(f"/api/tickets/{past.orders['paid later'].ticket}")
        assert ticket.json()["status"] == "sold"


def test_an_older_temporal_beside_a_newer_mongodb(past: Past) -> None:
    with past.restored("temporal") as restored:
        unknown = "open_order_without_workflow: open"
        assert restored.check() == {"new, waits": unknown, "new, at the bank": unknown}
        refused = restored.market.pays(past.orders["new, waits"], status=503)
        assert refused["code"] == "temporal_unavailable"
        refused = restored.market.pays(past.orders["paid later"], status=409)
        assert refused["code"] == "order_completed"

        # What these workflows still wait for has long been done; asked to, they find it so.
        for name in ("paid later", "confirmed later"):
            restored.cancel(name)
        eventually(lambda: not restored.runs("paid later") and not restored.runs("confirmed later"))
        assert restored.status("paid later") == restored.status("confirmed later") == "completed"

        # Nor does one take money for an order that was cancelled since.
        restored.pay_by_hand("cancelled later")
        eventually(lambda: not restored.runs("cancelled later"))
        assert restored.status("cancelled later") == "cancelled"
        assert restored.intents("cancelled later") == []

        restored.let_an_hour_pass("new, waits", "new, at the bank")
        repaired = "open_order_without_workflow: repaired"
        assert restored.check() == {"new, waits": repaired, "new, at the bank": repaired}
        assert restored.status("new, at the bank") == "cancelled"
        assert restored.intent("new, at the bank")["status"] == "canceled"


def test_both_databases_older_than_stripe(past: Past) -> None:
    with past.restored("mongodb", "temporal") as restored:
        found = {
            "new, completed": "captured_for_unknown_order: open",
            "new, at the bank": "authorization_of_unknown_order: open",
        }
        assert restored.check() == found

        # Whoever pays again is not charged again: Stripe knows the payment by its key.
        restored.market.pays(past.orders["paid later"])
        restored.ask_stripe("confirmed later")
        eventually(lambda: restored.status("confirmed later") == "completed")
        # Whoever does not is refunded by hand.
        restored.cancel("paid and forgotten")
        eventually(lambda: restored.status("paid and forgotten") == "cancelled")

        assert restored.check() == found | {
            "paid and forgotten": "captured_for_cancelled_order: open"
        }
        assert restored.status("paid later") == "completed"
        assert restored.intent("paid later")["captured"] == 4500
