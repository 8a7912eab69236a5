"""One run: start the stack, let customers shop while it breaks, wait for quiet, look."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pymongo import AsyncMongoClient
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

from devstack.process import REPOSITORY, Part
from devstack.settings import ProcessCounts, StackSettings
from devstack.stack import Stack
from tests.faults.attack import post_false_webhooks
from tests.faults.breaking import Breaker, sandbox_client, wait_until_ready
from tests.faults.invariants import (
    OPEN,
    Evidence,
    calm_lateness,
    untold_orders,
    violations,
)
from tests.faults.journeys import Errand, Market
from tests.faults.operators import Checks, Operators
from tests.faults.pace import Machine, Wait
from tests.faults.plan import Plan, PlannedPurchase
from tests.faults.shopping import ANSWER_WITHIN_SECONDS, Customer, Json, Shop, Unanswered

PROCESS_COUNTS = ProcessCounts(mongodb=3, api=2, workers=2)

QUIET = Runtime(telemetry=TelemetryConfig(logging=None))

CUSTOMERS = 40
MOST_CHECKS = 3
"""After so many checks in which nothing moved, what is found is there to stay."""


@dataclass(frozen=True)
class Rules:
    """What holds for everybody in a run; all in seconds."""

    reservation_ttl: float = 30.0
    payment_wait: float = 4.0
    patience: float = 180.0
    """How long a customer may have to wait for an answer once nothing breaks any more, in
    machine time."""
    quiet_within: float = 300.0
    """How long everything may take to finish once nothing breaks any more, in machine time."""

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
    acts: Counter[str]
    """What operators did."""
    answers: Counter[int]
    outcomes: Counter[str]
    captured: int
    """Money that Stripe took, in the currency's minor unit."""
    seconds: float
    machine_seconds: float
    """The same in machine time."""
    calm_lateness: float
    """How late the latest reservation ended before anything was broken, in machine time."""
    violations: list[str] = field(default_factory=list)


class FaultyStack(Stack):
    """A stack whose API and workers may run with a guard removed, on however slow a machine."""

    def __init__(
        self, settings: StackSettings, environ: Mapping[str, str], machine: Machine, sabotage: str
    ) -> None:
        super().__init__(settings, environ)
        self._machine = machine
        self._sabotage = sabotage

    def start_parts(self, *names: str) -> None:
        parts = [self.parts[name] for name in names]
        for part in parts:
            part.start()
        for part in parts:
            wait_until_ready(part, self._machine)

    def _make_parts(self) -> dict[str, Part]:
        parts = super()._make_parts()
        for part in parts.values():
            if self._sabotage and part.name.startswith(("api", "worker")):
                python, *program = part.command
                part.command = [python, "-m", "tests.faults.sabotage", self._sabotage, *program]
        return parts


async def carry_out(plan: Plan, rules: Rules, directory: Path, sabotage: str = "") -> Report:
    """Run the plan on a stack of its own in the directory."""
    began_at = time.time()
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    settings = StackSettings.on_free_ports(directory, PROCESS_COUNTS)
    with (
        _watched_machine(directory, settings.temporal_address) as (machine, probes),
        FaultyStack(settings, environ | rules.environment(), machine, sabotage) as stack,
    ):
        async with (
            _market(stack, rules, machine) as market,
            Breaker(stack, machine) as breaker,
        ):
            operators = Operators(market, await _connect(stack))
            said = await _shop_while_all_is_calm(plan, market)
            calm = set(market.promises.reserved)
            checks = Checks(market.shop.doors, stack.environment["OPERATOR_TOKEN"])
            checking = asyncio.create_task(checks.keep_asking())
            try:
                said += await _shop_while_it_breaks(plan, market, breaker, operators, stack)
                said += await _wait_for_quiet(stack, checks, Wait(machine, rules.quiet_within))
            finally:
                checking.cancel()
            evidence = await gather_evidence(stack)
            ended = [part for part in (*stack.parts.values(), probes) if not part.is_running]
            said += [part.exit_report() for part in ended]
        evidence.disturbances = breaker.disturbances
        evidence.acted_on = market.acted_on
        evidence.calm = calm
        evidence.pace = machine.pace()
        ended_at = time.time()
        return Report(
            plan=plan,
            broken=breaker.done,
            kills=breaker.kills,
            acts=operators.done,
            answers=market.shop.answers,
            outcomes=market.outcomes,
            captured=sum(intent["captured"] for intent in evidence.intents),
            seconds=ended_at - began_at,
            machine_seconds=evidence.pace.seconds(began_at, ended_at),
            calm_lateness=calm_lateness(evidence),
            violations=[
                _with_acts(violation, market)
                for violation in (
                    *said,
                    *checks.refusals,
                    *market.shop.blunders,
                    *violations(evidence, market.promises),
                    *untold_orders(evidence, market.promises),
                )
            ],
        )


@contextmanager
def _watched_machine(directory: Path, temporal_address: str) -> Iterator[tuple[Machine, Part]]:
    """The machine, and what watches it for as long as the block runs."""
    record = directory / "pace"
    probes = Part(
        name="probes",
        command=[sys.executable, "-m", "tests.faults.probes", temporal_address, str(record)],
        log=directory / "logs" / "probes.log",
        is_ready=record.exists,
        cwd=REPOSITORY,
    )
    probes.start()
    try:
        yield Machine(record), probes
    finally:
        probes.kill()


@asynccontextmanager
async def _market(stack: Stack, rules: Rules, machine: Machine) -> AsyncIterator[Market]:
    async with AsyncExitStack() as clients:
        doors = [
            await clients.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=ANSWER_WITHIN_SECONDS, trust_env=False)
            )
            for url in stack.api_urls
        ]
        bank = await clients.enter_async_context(sandbox_client(stack))
        shop = Shop(doors, machine, rules.patience)
        customers = [Customer(shop, f"customer-{n}@example.com") for n in range(CUSTOMERS)]
        await asyncio.gather(*(customer.sign_up() for customer in customers))
        market = Market(shop, customers, bank)
        market.promises.users |= {customer.id for customer in customers}
        yield market


async def _shop_while_all_is_calm(plan: Plan, market: Market) -> list[str]:
    """See how late this machine ends reservations of its own accord."""
    market.shop.is_mended = True
    said = await _run_errands(plan.calm_purchases, market)
    market.shop.is_mended = False
    return said


async def _shop_while_it_breaks(
    plan: Plan, market: Market, breaker: Breaker, operators: Operators, stack: Stack
) -> list[str]:
    secret = stack.environment["STRIPE_WEBHOOK_SECRET"]
    accepted: list[str] = []
    attack = asyncio.create_task(post_false_webhooks(market, secret, plan.seed, accepted))
    try:
        async with asyncio.TaskGroup() as tasks:
            errands = tasks.create_task(_run_errands(plan.purchases, market))
            acts = tasks.create_task(operators.carry_out(plan.acts))
            await breaker.carry_out(plan.faults)
            await breaker.mend_stripe()
            await acts
            market.shop.is_mended = True
    finally:
        attack.cancel()
    return errands.result() + accepted


async def _run_errands(purchases: list[PlannedPurchase], market: Market) -> list[str]:
    """Each in its time; what went wrong with them."""
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

    await asyncio.gather(*(run(Errand(market, planned)) for planned in purchases))
    return said


async def _wait_for_quiet(stack: Stack, checks: Checks, wait: Wait) -> list[str]:
    """Until nothing of ours goes on, and a check of the invariants that began then is through.

    Or say what is still going on. A check that has put something right is followed by another
    one, but for what no check can put right nobody waits.
    """
    quiet_since: float | None = None
    runs: dict[str, Json] = {}
    while True:
        going_on = _going_on(await gather_evidence(stack))
        quiet_since = None if going_on else quiet_since or time.time()
        run = await checks.last_run(quiet_since) if quiet_since else None
        if run is not None:
            runs[run["startedAt"]] = run
            if not (run["reported"] or run["repaired"]) or len(runs) == MOST_CHECKS:
                return []
        if wait.is_over:
            return [f"not quiet {wait}: {', '.join(going_on) or 'no check was made'}"]
        await asyncio.sleep(2)


def _going_on(evidence: Evidence) -> list[str]:
    """Workflows that run, orders that are open, and orders whose workflow is not listed yet."""
    running = [id for id in evidence.running if id.startswith(("order:", "refund:"))]
    open_ = [id for id, order in evidence.orders.items() if order["status"] in OPEN]
    unlisted = {
        f"order:{id} (not listed)" for id in evidence.orders if f"order:{id}" not in evidence.known
    }
    return [*running, *open_, *unlisted]


def _with_acts(violation: str, market: Market) -> str:
    """The violation, and what operators did to the orders that it names."""
    acts = [
        f"; operators tried on {id}: {', '.join(sorted(acts))}"
        for id, acts in market.acted_on.items()
        if id in violation
    ]
    return violation + "".join(acts)


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
    client = await _connect(stack)
    all_ = [(execution.id, execution.close_time) async for execution in client.list_workflows()]
    return {id for id, closed in all_ if closed is None}, {id for id, _ in all_}


async def _connect(stack: Stack) -> Client:
    """A client that does not tell of each request that it repeats."""
    return await Client.connect(stack.settings.temporal_address, runtime=QUIET)
