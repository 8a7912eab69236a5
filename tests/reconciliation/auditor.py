"""Somebody who breaks what must hold, and has it checked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import stripe
from beanie import Document, PydanticObjectId
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities.reconciliation.activities import (
    ReconciliationActivities,
    RunRecord,
    ViolationCounts,
)
from activities.reconciliation.violations import Candidate
from stripe_sandbox.testing import stripe_client
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace
from ticketing.invariants import Scope, ViolationCode
from ticketing.models import Charge, Order, Ticket, ViolationRecord, ViolationStatus
from workflows.reconciliation import ReconciliationInput, ReconciliationWorkflow

PAUSE = timedelta(0)
"""Nothing is in motion here, and the shortest timer takes a second."""


@dataclass
class Auditor:
    """Runs the reconciliation on the market's own worker, and reads what it has found."""

    market: Marketplace

    async def check(self, scope: Scope = Scope.RECENT, **steps: Any) -> RunRecord:
        """Check everything once, to the end."""
        return await (await self.begin(scope, **steps)).result()

    async def begin(
        self, scope: Scope = Scope.RECENT, **steps: Any
    ) -> WorkflowHandle[ReconciliationWorkflow, RunRecord]:
        return await self.market.temporal.start_workflow(
            ReconciliationWorkflow.run,
            ReconciliationInput(scope=scope, **{"pause": PAUSE, **steps}),
            id=f"reconciliation-{uuid4().hex}",
            task_queue=self.market.settings.task_queue,
        )

    async def examine_candidate(self, order: Json) -> ViolationCounts:
        """Examine one order without a pause."""
        market = self.market
        checks = ReconciliationActivities(market.mongo, market.gateway, market.temporal)
        return await ActivityEnvironment().run(
            checks.examine_candidate, Candidate("order", order["id"])
        )

    async def found(
        self, status: ViolationStatus | None = None
    ) -> dict[ViolationCode, ViolationStatus]:
        """Every violation that is recorded, with its status."""
        where = {"status": status} if status else {}
        records = await ViolationRecord.find(where).to_list()
        return {record.code: record.status for record in records}

    async def reports(self, *codes: ViolationCode, scope: Scope = Scope.RECENT) -> None:
        """Assert that a check finds just this, twice, and touches nothing."""
        before = await self.market.written()
        for _ in range(2):
            run = await self.check(scope)
            assert await self.found() == dict.fromkeys(codes, ViolationStatus.OPEN)
            assert (run.reported, run.repaired, run.unexamined) == (len(codes), 0, 0)
        assert await self.market.written() == before

    async def repairs(self, *codes: ViolationCode, scope: Scope = Scope.RECENT) -> None:
        """Assert that a check finds just this and repairs it, and the next one finds nothing."""
        run = await self.check(scope)
        assert await self.found() == dict.fromkeys(codes, ViolationStatus.REPAIRED)
        assert (run.reported, run.repaired, run.unexamined) == (0, len(codes), 0)
        run = await self.check(scope)
        assert (run.reported, run.repaired) == (0, 0)

    async def finds_nothing(self, scope: Scope = Scope.RECENT) -> None:
        run = await self.check(scope)
        assert await self.found() == {}
        assert (run.reported, run.repaired, run.unexamined) == (0, 0, 0)

    async def tamper(self, model: type[Document], id: object, **fields: object) -> None:
        """Change a document by hand, as nobody should."""
        await model.get_pymongo_collection().update_one(
            {"_id": PydanticObjectId(str(id))}, {"$set": fields}
        )

    async def tamper_with_ticket(self, ticket: Json, **fields: object) -> None:
        await self.tamper(Ticket, ticket["id"], **fields)

    async def tamper_with_order(self, order: Json, **fields: object) -> None:
        await self.tamper(Order, order["id"], **fields)

    async def tamper_with_charge(self, charge: Json, **fields: object) -> None:
        await self.tamper(Charge, charge["id"], **fields)

    @asynccontextmanager
    async def dashboard(self) -> AsyncIterator[stripe.StripeClient]:
        """Stripe, without us in between."""
        async with stripe_client(self.market.sandbox.url) as client:
            yield client

    async def authorize(
        self,
        order_id: str,
        payment_method: str | None = "pm_card_visa",
        *,
        amount: int = 5000,
        capture: bool = False,
        **metadata: str,
    ) -> str:
        """Make an intent for an order behind everybody's back; its id."""
        params: Any = {
            "amount": amount,
            "currency": "usd",
            "capture_method": "manual",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"order_id": order_id, "attempt": "1", **metadata},
        }
        if payment_method is not None:
            params |= {"confirm": True, "payment_method": payment_method}
        async with self.dashboard() as client:
            intent = await client.v1.payment_intents.create_async(params)
            if capture:
                await client.v1.payment_intents.capture_async(intent.id)
        return intent.id

    async def refund(self, intent_id: str) -> None:
        async with self.dashboard() as client:
            await client.v1.refunds.create_async({"payment_intent": intent_id})

    def status_at_stripe(self, intent_id: str) -> str:
        return str(self.market.sandbox.payment_intent(intent_id)["status"])
