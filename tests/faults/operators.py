"""Operators: what they do to orders in Temporal, and the checks that they ask for."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import RawValue
from temporalio.service import RPCError

from tests.faults.journeys import Market
from tests.faults.plan import Act, PlannedAct
from tests.faults.shopping import Json

MOST_TRIES = 4
SHARE_OF_OPEN = 0.8
RECENT = 25
"""Of so many of the latest orders one is acted on, where it need not be open."""
ACT_WITHIN_SECONDS = 10.0
"""Temporal may be away; then the operator gives up."""
CHECK_AGAIN_SECONDS = 10.0

UNKNOWN_CHARGE = {"charge_id": "65f000000000000000000000", "payment_method": "pm_nobody"}
NO_CHARGE = {"charge_id": "junk", "payment_method": "pm_nobody"}
POISONS: Sequence[Sequence[Any]] = (
    [],
    [None],
    ["junk"],
    [42],
    [["junk"]],
    [{}],
    [{"charge_id": 7, "payment_method": None}],
    [{"intent_id": ["pi_junk"]}],
    [NO_CHARGE],
    [UNKNOWN_CHARGE],
    [UNKNOWN_CHARGE, "one too many", 3],
    [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{not json"))],
    [RawValue(Payload(metadata={"encoding": b"no/such-encoding"}, data=b"\x00\xff"))],
    [RawValue(Payload(metadata={"encoding": b"binary/null"}, data=b"not empty"))],
    [RawValue(Payload(data=b"no encoding at all"))],
)
"""Inputs: none, null, of wrong types, about nothing that exists, too many, and unreadable."""
SIGNALS = ("payment_submitted", "payment_intent_changed", "no_such_signal")
UPDATES = ("await_payment_decision", "reserve", "cancel", "no_such_update")

TASK_ENDS = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
)

Handle = WorkflowHandle[Any, Any]


class Operators:
    """Do as planned to orders that customers hold, or have just held."""

    def __init__(self, market: Market, temporal: Client) -> None:
        self._market = market
        self._temporal = temporal
        self.done: Counter[str] = Counter()
        """What was done, and how often; what Temporal refused or did not answer is apart."""

    async def carry_out(self, acts: Sequence[PlannedAct]) -> None:
        """Act in time on everything that is planned; returns when all is done."""
        began_at = time.monotonic()

        async def in_time(planned: PlannedAct) -> None:
            await asyncio.sleep(began_at + planned.starts_at - time.monotonic())
            await self._act_on_some_order(planned)

        await asyncio.gather(*(in_time(planned) for planned in acts))

    async def _act_on_some_order(self, planned: PlannedAct) -> None:
        """On the next one, if Temporal refuses it: the order may just have been closed."""
        dice = random.Random(planned.seed)
        is_two = planned.kind is Act.TERMINATE_AND_RESET
        first = Act.TERMINATE if is_two else planned.kind
        for _ in range(MOST_TRIES):
            order_id = self._some_order(dice)
            if order_id is None:
                return
            self._market.acted_on[order_id].add(planned.kind)
            handle = self._temporal.get_workflow_handle(f"order:{order_id}")
            if await self._try(first, handle, dice):
                break
        if is_two:
            await asyncio.sleep(planned.pause)
            await self._try(Act.RESET, handle, dice)

    def _some_order(self, dice: random.Random) -> str | None:
        """An order that is open, as far as its buyer knows; or now and then any other."""
        reserved = list(self._market.promises.reserved)
        open_ = [id for id in reserved if id not in self._market.closed]
        wanted = open_ if dice.random() < SHARE_OF_OPEN else reserved[-RECENT:]
        return dice.choice(wanted) if wanted else None

    async def _try(self, act: Act, handle: Handle, dice: random.Random) -> bool:
        doing = {
            Act.TERMINATE: self._terminate,
            Act.RESET: self._reset,
            Act.REQUEST_CANCELLATION: self._request_cancellation,
            Act.POISON_SIGNAL: self._poison_signal,
            Act.POISON_UPDATE: self._poison_update,
        }[act]
        try:
            async with asyncio.timeout(ACT_WITHIN_SECONDS):
                await doing(handle, dice)
        except (
            RPCError,
            TimeoutError,
            WorkflowUpdateFailedError,
            WorkflowUpdateRPCTimeoutOrCancelledError,
        ):
            self.done[f"{act}, refused"] += 1
            return False
        self.done[act] += 1
        return True

    async def _terminate(self, handle: Handle, dice: random.Random) -> None:
        await handle.terminate(reason="the fault harness")

    async def _request_cancellation(self, handle: Handle, dice: random.Random) -> None:
        await handle.cancel()

    async def _reset(self, handle: Handle, dice: random.Random) -> None:
        run_id = (await handle.describe()).run_id
        run = self._temporal.get_workflow_handle(handle.id, run_id=run_id)
        events = [event async for event in run.fetch_history_events()]
        ends = [event.event_id for event in events if event.event_type in TASK_ENDS]
        if not ends:
            return
        await self._temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self._temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
                reason="the fault harness",
                workflow_task_finish_event_id=dice.choice(ends),
                request_id=str(uuid4()),
            )
        )

    async def _poison_signal(self, handle: Handle, dice: random.Random) -> None:
        await handle.signal(dice.choice(SIGNALS), args=dice.choice(POISONS))

    async def _poison_update(self, handle: Handle, dice: random.Random) -> None:
        # With no input at all, some of them are what a customer asks for.
        await handle.start_update(
            dice.choice(UPDATES),
            args=dice.choice(POISONS[1:]),
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
            rpc_timeout=timedelta(seconds=ACT_WITHIN_SECONDS),
        )


class Checks:
    """Asks for the invariants to be checked, by the route that operators have for it."""

    def __init__(self, doors: Sequence[httpx.AsyncClient], token: str) -> None:
        self._doors = doors
        self._headers = {"Authorization": f"Bearer {token}"}
        self.refusals: list[str] = []
        """Answers that no outage explains."""

    async def keep_asking(self) -> None:
        """Until cancelled, ask for one check after the other."""
        while True:
            await self._ask("POST")
            await asyncio.sleep(CHECK_AGAIN_SECONDS)

    async def last_run(self, since: float) -> Json | None:
        """The last check, if it began after the instant and is through."""
        answer = await self._ask("GET")
        run: Json | None = answer and answer["lastRun"]
        if not run or run["finishedAt"] is None:
            return None
        return run if datetime.fromisoformat(run["startedAt"]).timestamp() > since else None

    async def _ask(self, method: str) -> Json | None:
        door = random.choice(self._doors)
        try:
            answer = await door.request(method, "/api/operations/invariants", headers=self._headers)
        except httpx.TransportError:
            return None
        if answer.is_success:
            body: Json = answer.json()
            return body
        if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            self.refusals.append(f"{method} of the invariants answered {answer.status_code}")
        return None
