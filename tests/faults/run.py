"""One run: start the stack, let customers shop while it breaks, wait for quiet, look."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pymongo import AsyncMongoClient
from temporalio.client import Client

from devstack.process import Part
from devstack.settings import Shape, StackSettings
from devstack.stack import Stack
from tests.faults.attack import post_false_webhooks
from tests.faults.breaking import Breaker, sandbox_client
from tests.faults.invariants import OPEN, Evidence, violations
from tests.faults.journeys import Errand, Market
from tests.faults.plan import Plan
from tests.faults.shopping import ANSWER_WITHIN_SECONDS, Customer, Shop, Unanswered

SHAPE = Shape(mongodb=3, api=2, workers=2)

CUSTOMERS = 40


@dataclass(frozen=True)
class Rules:
    """What holds for everybody in a run; all in seconds."""

    reservation_ttl: float = 30.0
    payment_wait: float = 4.0
    patience: float = 90.0
    """How long a customer may have to wait for an answer once nothing breaks any more."""
    quiet_within: float = 240.0
    """How long everything may take to finish once nothing breaks any more."""

    def environment(self) -> dict[str, str]:
        """As settings."""
        return {
            "RESERVATION_TTL": str(self.reservation_ttl),
            "PAYMENT_WAIT": str(self.payment_wait),
            "PAYMENT_ATTEMPTS": "2",
            "MAX_RESERVATIONS": "100",
            "RATE_LIMITS": "off",
            "LOG_LEVEL": "WARNING",
        }


@dataclass
class Report:
    """What a run did, what it survived, and what it should not have found."""

    plan: Plan
    broken: Counter[str]
    kills: int
    answers: Counter[int]
    outcomes: Counter[str]
    captured: int
    """Money that Stripe took, in the currency's minor unit."""
    seconds: float
    violations: list[str] = field(default_factory=list)


class FaultyStack(Stack):
    """A stack whose API and workers may run with a guard removed."""

    def __init__(self, settings: StackSettings, environ: Mapping[str, str], sabotage: str) -> None:
        super().__init__(settings, environ)
        self._sabotage = sabotage

    def _make_parts(self) -> dict[str, Part]:
        parts = super()._make_parts()
        for part in parts.values():
            if self._sabotage and part.name.startswith(("api", "worker")):
                python, *program = part.command
                part.command = [python, "-m", "tests.faults.sabotage", self._sabotage, *program]
        return parts


async def carry_out(plan: Plan, rules: Rules, directory: Path, sabotage: str = "") -> Report:
    """Run the plan on a stack of its own in the directory."""
    began_at = time.monotonic()
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    settings = StackSettings.on_free_ports(directory, SHAPE)
    with FaultyStack(settings, environ | rules.environment(), sabotage) as stack:
        async with _market(stack, rules) as market, Breaker(stack) as breaker:
            said = await _shop_while_it_breaks(plan, market, breaker, stack)
            said += await _wait_for_quiet(stack, rules.quiet_within)
            evidence = await gather_evidence(stack)
            said += [part.obituary() for part in stack.ended_parts()]
        evidence.disturbances = breaker.disturbances
        return Report(
            plan=plan,
            broken=breaker.done,
            kills=breaker.kills,
            answers=market.shop.answers,
            outcomes=market.outcomes,
            captured=sum(intent["captured"] for intent in evidence.intents),
            seconds=time.monotonic() - began_at,
            violations=said + market.shop.blunders + violations(evidence, market.promises),
        )


@asynccontextmanager
async def _market(stack: Stack, rules: Rules) -> AsyncIterator[Market]:
    async with AsyncExitStack() as clients:
        doors = [
            await clients.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=ANSWER_WITHIN_SECONDS, trust_env=False)
            )
            for url in stack.api_urls
        ]
        bank = await clients.enter_async_context(sandbox_client(stack))
        shop = Shop(doors, rules.patience)
        customers = [Customer(shop, f"customer-{n}@example.com") for n in range(CUSTOMERS)]
        await asyncio.gather(*(customer.sign_up() for customer in customers))
        market = Market(shop, customers, bank)
        market.promises.users |= {customer.id for customer in customers}
        yield market


async def _shop_while_it_breaks(
    plan: Plan, market: Market, breaker: Breaker, stack: Stack
) -> list[str]:
    said: list[str] = []
    began_at = time.monotonic()

    async def run(errand: Errand) -> None:
        await asyncio.sleep(began_at + errand.planned.starts_at - time.monotonic())
        try:
            await errand.run()
        except Unanswered as error:
            said.append(f"purchase {errand.planned.number}: nobody answered {error}")
        except Exception as error:  # whatever it is, it is a finding
            said.append(f"purchase {errand.planned.number}: {type(error).__name__}: {error}")

    secret = stack.environment["STRIPE_WEBHOOK_SECRET"]
    attack = asyncio.create_task(post_false_webhooks(market, secret, plan.seed))
    try:
        async with asyncio.TaskGroup() as tasks:
            for planned in plan.purchases:
                tasks.create_task(run(Errand(market, planned)))
            await breaker.carry_out(plan.faults)
            await breaker.mend_stripe()
            market.shop.mended_at = time.monotonic()
    finally:
        attack.cancel()
    return said


async def _wait_for_quiet(stack: Stack, within: float) -> list[str]:
    """Until no order is open and no workflow of ours runs; or say what is still going on.

    Temporal's list lags behind, so it also has to know every order's workflow.
    """
    deadline = time.monotonic() + within
    while True:
        evidence = await gather_evidence(stack)
        going_on = [id for id in evidence.running if id.startswith(("order:", "refund:"))]
        going_on += [id for id, order in evidence.orders.items() if order["status"] in OPEN]
        unknown = {f"order:{id}" for id in evidence.orders} - evidence.known
        if not going_on and not unknown:
            return []
        if time.monotonic() > deadline:
            return [f"not quiet after {within:.0f} s: {', '.join(going_on)}"]
        await asyncio.sleep(2)


async def gather_evidence(stack: Stack) -> Evidence:
    """Everything that the stack's servers hold now."""
    environment = stack.environment
    url = environment["MONGODB_URL"]
    async with AsyncMongoClient[dict[str, Any]](url, tz_aware=True) as mongo:
        database = mongo[environment["MONGODB_DATABASE"]]
        tickets, orders, charges, users, findings = [
            await database[name].find().to_list()
            for name in ("tickets", "orders", "charges", "users", "findings")
        ]
    running, known = await _workflows(stack)
    async with httpx.AsyncClient(trust_env=False) as http:
        ledger = await http.get(f"{stack.urls['stripe_sandbox']}/_sandbox/ledger")
    return Evidence(
        tickets={str(ticket["_id"]): ticket for ticket in tickets},
        orders={str(order["_id"]): order for order in orders},
        charges=charges,
        users={str(user["_id"]) for user in users},
        running=running,
        known=known,
        findings=findings,
        intents=ledger.raise_for_status().json()["payment_intents"],
    )


async def _workflows(stack: Stack) -> tuple[set[str], set[str]]:
    client = await Client.connect(stack.environment["TEMPORAL_ADDRESS"])
    all_ = [(execution.id, execution.close_time) async for execution in client.list_workflows()]
    return {id for id, closed in all_ if closed is None}, {id for id, _ in all_}
