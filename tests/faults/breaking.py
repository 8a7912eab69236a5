"""Breaking the stack as planned, and mending it again."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from devstack.process import POLL_INTERVAL, Part, StackError
from devstack.stack import Stack
from tests.faults.pace import HANG_SECONDS, Machine, Wait
from tests.faults.plan import Break, PlannedFault

READY_WITHIN_SECONDS = 60.0
"""Of machine time."""
RESTART_SECONDS = 0.5
STRIPE_SLOWNESS_SECONDS = (0.5, 6.0)
STRIPE_CHANCES = (0.2, 0.7)


@dataclass(frozen=True)
class Disturbance:
    """A time, on the clock of `time.time()`, in which some part did not do its work.

    Where writes were refused, the part is the collection.
    """

    part: str
    began_at: float
    ended_at: float


def sandbox_client(stack: Stack) -> httpx.AsyncClient:
    """A client that keeps no connection open, so that none is found closed when it is used."""
    return httpx.AsyncClient(
        base_url=stack.urls["stripe_sandbox"],
        timeout=HANG_SECONDS,
        limits=httpx.Limits(max_keepalive_connections=0),
        trust_env=False,
    )


def wait_until_ready(part: Part, machine: Machine) -> None:
    """Wait for the part to say that it is ready, for as long as a machine like this one needs.

    Raises:
        StackError: it has ended, or is not ready by then.
    """
    wait = Wait(machine, READY_WITHIN_SECONDS)
    while not part.is_ready():
        if not part.is_running:
            raise StackError(part.exit_report())
        if wait.is_over:
            raise StackError(f"{part.name} was not ready {wait}{part.tail()}")
        time.sleep(POLL_INTERVAL)


class Breaker:
    """Carries out planned faults; a part is broken by one of them at a time."""

    def __init__(self, stack: Stack, machine: Machine) -> None:
        self._stack = stack
        self._machine = machine
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Parts die with the thread that started them, and this one lives as long as we do.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._sandbox = sandbox_client(stack)
        self._mongo = AsyncMongoClient[dict[str, object]](stack.environment["MONGODB_URL"])
        self._database = self._mongo[stack.environment["MONGODB_DATABASE"]]
        self.done: Counter[str] = Counter()
        """What was broken, and how often."""
        self.disturbances: list[Disturbance] = []

    async def carry_out(self, faults: list[PlannedFault]) -> None:
        """Break and mend everything that is planned; returns when all is mended."""
        began_at = time.monotonic()

        async def in_time(fault: PlannedFault) -> None:
            await asyncio.sleep(began_at + fault.starts_at - time.monotonic())
            await self._break(fault)

        await asyncio.gather(*(in_time(fault) for fault in faults))

    async def mend_stripe(self) -> None:
        """From now on Stripe answers everything at once."""
        (await self._sandbox.delete("/_sandbox/faults")).raise_for_status()

    async def __aenter__(self) -> "Breaker":
        return self

    async def __aexit__(self, *_: object) -> None:
        # The thread stays for the stack to be stopped: what it started ends when it does.
        await self._sandbox.aclose()
        await self._mongo.close()

    @property
    def kills(self) -> int:
        """How many processes were ended by SIGKILL."""
        return sum(count for what, count in self.done.items() if what.startswith(Break.KILL))

    async def _break(self, fault: PlannedFault) -> None:
        async with self._locks[fault.target]:
            began_at = time.time()
            match fault.kind:
                case Break.KILL:
                    await self._kill(fault)
                case Break.FREEZE:
                    await self._freeze(fault)
                case Break.STRIPE:
                    await self._disturb_stripe(fault)
                case Break.REFUSE:
                    await self._refuse_writes(fault)
            self.done[f"{fault.kind} {fault.target}"] += 1
            self.disturbances.append(Disturbance(fault.target, began_at, time.time()))

    async def _kill(self, fault: PlannedFault) -> None:
        name = await self._part_of(fault)
        part = self._stack.parts[name]
        await asyncio.to_thread(part.kill)
        await asyncio.sleep(fault.seconds)
        await self._bring_back(part)

    async def _bring_back(self, part: Part) -> None:
        """Start it as a supervisor does: again, if what it needs is away and it gives up."""
        wait = Wait(self._machine, READY_WITHIN_SECONDS)
        while True:
            await asyncio.get_running_loop().run_in_executor(self._starter, part.start)
            try:
                await asyncio.to_thread(wait_until_ready, part, self._machine)
            except StackError:
                if part.is_running or wait.is_over:
                    raise
                await asyncio.sleep(RESTART_SECONDS)
            else:
                return

    async def _freeze(self, fault: PlannedFault) -> None:
        name = await self._part_of(fault)
        self._stack.freeze(name)
        await asyncio.sleep(fault.seconds)
        self._stack.thaw(name)
        await self._settle(self._stack.parts[name])

    async def _settle(self, part: Part) -> None:
        try:
            await asyncio.to_thread(wait_until_ready, part, self._machine)
        except StackError:
            if part.is_running:
                raise
            await self._bring_back(part)

    async def _disturb_stripe(self, fault: PlannedFault) -> None:
        dice = random.Random(fault.seed)
        rule = {
            "kind": fault.target,
            "times": None,
            "probability": dice.uniform(*STRIPE_CHANCES),
            "delay_seconds": dice.uniform(*STRIPE_SLOWNESS_SECONDS) * (fault.target == "latency"),
            "seed": fault.seed,
        }
        made = await self._sandbox.post("/_sandbox/faults", json=rule)
        await asyncio.sleep(fault.seconds)
        await self._sandbox.delete(f"/_sandbox/faults/{made.raise_for_status().json()['id']}")

    async def _refuse_writes(self, fault: PlannedFault) -> None:
        await self._validate(fault.target, {"_id": {"$exists": False}})
        await asyncio.sleep(fault.seconds)
        await self._validate(fault.target, {})

    async def _validate(self, collection: str, validator: dict[str, object]) -> None:
        """Let MongoDB refuse what does not pass, as soon as it has a primary to do so."""
        wait = Wait(self._machine, READY_WITHIN_SECONDS)
        while True:
            try:
                await self._database.command(
                    "collMod", collection, validator=validator, validationAction="error"
                )
            except PyMongoError as error:
                if wait.is_over:
                    raise StackError(f"collMod of {collection} failed {wait}: {error}") from error
                await asyncio.sleep(RESTART_SECONDS)
            else:
                return

    async def _part_of(self, fault: PlannedFault) -> str:
        """The part to break: `mongodb` is whichever node is the primary when its time has come."""
        if fault.target != "mongodb":
            return fault.target
        wait = Wait(self._machine, READY_WITHIN_SECONDS)
        while (primary := await asyncio.to_thread(self._stack.primary)) is None:
            if wait.is_over:
                raise StackError(f"MongoDB had no primary {wait}")
            await asyncio.sleep(0.1)
        return primary
