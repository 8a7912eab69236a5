"""One upgrade: the old stack leaves orders open, and the new one carries each to its end."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

import httpx
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
from temporalio.runtime import Runtime, TelemetryConfig

from bench.revisions import Checkout
from devstack.secrets_file import read_or_create_secrets
from devstack.settings import StackSettings
from tests.upgrade.market import Json, Market, Unexpected, opened_market
from tests.upgrade.scenes import SCENES, Ending, Scene
from tests.upgrade.stacks import kill, running_stack, stop
from ticketing.statuses import CancelReason, OrderStatus

QUIET = Runtime(telemetry=TelemetryConfig(logging=None))
LOOK_AGAIN_SECONDS = 0.2

HARMLESS = {
    # A message arrived while the task closed the workflow: the task is made again with it.
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
}


@dataclass(frozen=True)
class Rules:
    """How long everybody waits, in seconds."""

    reservation_ttl: float = 120.0
    """Longer than it takes to leave every order open, to stop, and to start again."""
    patience: float = 120.0
    """How long after that the last order may still take to end."""

    def environment(self) -> dict[str, str]:
        """As settings."""
        return {
            "RESERVATION_TTL": str(self.reservation_ttl),
            "PAYMENT_WAIT": "5",
            "PAYMENT_ATTEMPTS": "2",
            "MAX_RESERVATIONS": "100",
            "RATE_LIMITS": "off",
            "LOG_LEVEL": "WARNING",
        }


@dataclass
class Order:
    """An order of a scene."""

    scene: Scene
    order: Json = field(default_factory=dict)
    ending: Ending | None = None
    problem: str = ""

    @property
    def is_as_promised(self) -> bool:
        return not self.problem and self.ending == self.scene.ending


@dataclass
class Report:
    """What became of the orders, and what is wrong besides."""

    orders: list[Order]
    problems: list[str]

    @property
    def is_good(self) -> bool:
        return not self.problems and all(order.is_as_promised for order in self.orders)


def upgrade(
    old: Checkout,
    new: Checkout,
    directory: Path,
    *,
    killed: bool,
    rules: Rules = Rules(),
    scenes: Sequence[Scene] = SCENES,
) -> Report:
    """Carry the orders of the scenes from the old checkout over to the new one.

    The old stack is stopped gracefully, or all of its processes are killed at once.

    Raises:
        StackError: one of the stacks does not start or stop.
        Unexpected: the old stack does not answer as it should.
    """
    settings = StackSettings.on_free_ports(directory / "stack")
    orders = [Order(scene) for scene in scenes]
    with opened_market(settings) as market:
        with running_stack(old, settings, rules.environment(), directory / "old.log") as stack:
            market.sign_up()
            for order in orders:
                order.order = market.reserve()
                order.scene.begin(market, order.order)
            _wait_until_left(orders, market, rules)
            kill(stack) if killed else stop(stack)
        with running_stack(new, settings, rules.environment(), directory / "new.log") as stack:
            for order in orders:
                _finish(order, market)
            _wait_for_the_ends(orders, market, rules)
            problems = [
                *_violations(settings, rules),
                *asyncio.run(_problems_at_temporal(settings)),
            ]
            stop(stack)
    return Report(orders, problems)


def _wait_until_left(orders: Sequence[Order], market: Market, rules: Rules) -> None:
    """Wait for the orders to wait for what they should.

    Raises:
        Unexpected: one does not, and would show nothing.
    """
    deadline = time.monotonic() + rules.patience
    for order in orders:
        while (status := market.order(order.order)["status"]) != order.scene.left:
            if time.monotonic() > deadline:
                raise Unexpected(f"an order that waits for {order.scene.waits} is {status}")
            time.sleep(LOOK_AGAIN_SECONDS)


def _finish(order: Order, market: Market) -> None:
    try:
        order.scene.finish(market, order.order)
    except (Unexpected, httpx.HTTPError) as error:
        order.problem = f"{type(error).__name__}: {error}"


def _wait_for_the_ends(orders: Sequence[Order], market: Market, rules: Rules) -> None:
    """Wait for each order to end as promised; what it came to instead is noted as well."""
    latest = max(datetime.fromisoformat(order.order["expiresAt"]) for order in orders)
    deadline = latest.timestamp() + rules.patience
    for order in orders:
        while (ending := _ending(order, market)) != order.scene.ending:
            if time.time() > deadline or order.problem:
                break
            time.sleep(LOOK_AGAIN_SECONDS)
        order.ending = ending


def _ending(order: Order, market: Market) -> Ending:
    now = market.order(order.order)
    intents = market.intents(order.order)
    return Ending(
        status=OrderStatus(now["status"]),
        reason=CancelReason(now["cancelReason"]) if now["cancelReason"] else None,
        captured=tuple(intent["captured"] for intent in intents if intent["captured"]),
        refunded=sum(intent["refunded"] for intent in intents),
    )


def _violations(settings: StackSettings, rules: Rules) -> Iterator[str]:
    """What a full check of the invariants finds."""
    token = read_or_create_secrets(settings.stack_dir / "secrets.env")["OPERATOR_TOKEN"]
    url = f"{settings.urls['api']}/api/operations/invariants"
    with httpx.Client(
        headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
    ) as operator:
        before = operator.get(url).raise_for_status().json()["lastRun"]
        asked = operator.post(url, params={"scope": "full"})
        assert asked.status_code == HTTPStatus.ACCEPTED, asked.text
        deadline = time.monotonic() + rules.patience
        while True:
            found = operator.get(url).raise_for_status().json()
            run = found["lastRun"]
            if run and run["finishedAt"] and run["scope"] == "full" and run != before:
                break
            if time.monotonic() > deadline:
                yield "no check of the invariants was made"
                return
            time.sleep(LOOK_AGAIN_SECONDS)
    yield from (f"{item['invariant']}: {item['detail']}" for item in found["items"])
    if run["repaired"] or run["unexamined"]:
        yield f"the check repaired {run['repaired']} and could not examine {run['unexamined']}"


async def _problems_at_temporal(settings: StackSettings) -> list[str]:
    """Workflows that a task of has failed, and orders and refunds that do not end."""
    client = await Client.connect(settings.temporal_address, runtime=QUIET)
    problems: list[str] = []
    async for execution in client.list_workflows():
        history = await client.get_workflow_handle(
            execution.id, run_id=execution.run_id
        ).fetch_history()
        problems += [f"{execution.id}: {failure}" for failure in _task_failures(history)]
        is_ours = execution.id.startswith(("order:", "refund:"))
        if is_ours and execution.status is WorkflowExecutionStatus.RUNNING:
            problems.append(f"{execution.id} still runs")
    return problems


def _task_failures(history: WorkflowHistory) -> Iterator[str]:
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            failed = event.workflow_task_failed_event_attributes
            if failed.cause not in HARMLESS:
                cause = WorkflowTaskFailedCause.Name(failed.cause)
                yield f"{cause} at event {event.event_id}: {failed.failure.message}"
