"""Admission to Temporal: a process has no more under way there than is answered well.

Reservations and payments share the slots of a limit that adapts to Temporal's latency. Whoever
finds no free slot waits in a short queue, payments first, since a payment holds a ticket. Whoever
cannot be served in time is refused at once (docs/adr/0027-admission.md).
"""

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from enum import StrEnum

from api.temporal.concurrency_limit import IDLE_SECONDS, ConcurrencyLimit
from ticketing.errors import Overloaded, TemporalUnavailable
from ticketing.observability.metrics import MetricMeter


class Operation(StrEnum):
    """What is asked of Temporal; in the order in which those who wait are served."""

    PAYMENT = "payment"
    RESERVATION = "reservation"


MAX_WAIT_SECONDS = {Operation.PAYMENT: 3.0, Operation.RESERVATION: 0.15}
"""How long a request waits for a slot at most, and is expected to when it begins to wait."""

MAX_QUEUED = 128
"""Per operation; longer than what is served in time, except when answers are quick."""
MAX_LOOKING = 32
"""Requests for different tickets beyond the limit that may look at once whether they can wait."""

INITIAL_DURATION_SECONDS = 0.1
"""What an operation is expected to take before any has been measured."""
DURATION_WEIGHT = 0.1
"""The weight of the latest operation in the average duration."""

RETURNS_PER_SECOND = 10
"""How many of those turned away `Retry-After` lets return per second and process."""
MAX_RETRY_SECONDS = 15

REFUSALS = {
    Operation.PAYMENT: "Too many people are buying right now, so this payment was not submitted "
    "and nothing was charged. The ticket is still reserved for you; pay again in a few seconds.",
    Operation.RESERVATION: "Too many people are buying right now, and this request reserved "
    "nothing. Try again in a few seconds.",
}

WhileWaiting = Callable[[], AbstractAsyncContextManager[None]]
"""Surrounds the time in the queue, and may end it: `ends_when_client_leaves`."""


class Permit:
    """A slot that is held until it is released."""

    def __init__(self, release: Callable[[float], None], began: float) -> None:
        self._release = release
        self.began = began
        self.is_held = True

    def release(self) -> None:
        """Give the slot back; again, it changes nothing."""
        if self.is_held:
            self.is_held = False
            self._release(self.began)


class Admission:
    """The slots of this process, and the queue for them."""

    def __init__(
        self,
        meter: MetricMeter = MetricMeter.noop,
        *,
        limit: ConcurrencyLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit or ConcurrencyLimit()
        self._clock = clock
        self._metrics = AdmissionMetrics(meter)
        self._in_use = 0
        self._used_at = clock()
        self._average_duration = INITIAL_DURATION_SECONDS
        # Payments first. The keys of a dict, because anybody may leave a queue.
        self._queues: dict[Operation, dict[asyncio.Future[bool], None]] = {
            operation: {} for operation in Operation
        }
        self._turned_away_at: deque[float] = deque()
        self._let_in = Counter[str]()
        self._report()

    @asynccontextmanager
    async def reservation(self, while_waiting: WhileWaiting = nullcontext) -> AsyncIterator[None]:
        """Hold a slot for the block, which asks Temporal for a reservation and awaits it.

        How long the block takes adapts the limit.

        Raises:
            Overloaded: Temporal was not asked.
        """
        async with self._permit(Operation.RESERVATION, while_waiting) as permit:
            yield
            self._limit.record_answer(began=permit.began, now=self._clock(), in_use=self._in_use)

    @asynccontextmanager
    async def payment(self, while_waiting: WhileWaiting = nullcontext) -> AsyncIterator[Permit]:
        """Hold a slot for the block, or until the permit is released.

        Release it as soon as a worker has begun the payment: then the bank decides how long it
        takes. Hence the duration of a payment does not adapt the limit; its failure does.

        Raises:
            Overloaded: Temporal was not asked.
        """
        async with self._permit(Operation.PAYMENT, while_waiting) as permit:
            yield permit

    def let_in(self, ticket_id: str) -> AbstractContextManager[None]:
        """Count a request for a ticket during the block; those for one ticket count once.

        Raises:
            Overloaded: so many different tickets are asked for that this one would wait in vain.
        """
        if ticket_id not in self._let_in and len(self._let_in) >= self._slots() + MAX_LOOKING:
            raise self.turn_away(Operation.RESERVATION)
        return self._letting_in(ticket_id)

    @contextmanager
    def _letting_in(self, ticket_id: str) -> Iterator[None]:
        self._let_in[ticket_id] += 1
        try:
            yield
        finally:
            self._let_in[ticket_id] -= 1
            if not self._let_in[ticket_id]:
                del self._let_in[ticket_id]

    def has_room(self, operation: Operation) -> bool:
        """Whether the operation can expect to be served in time."""
        if self._in_use < self._slots():
            return True
        ahead = 0
        for other, queue in self._queues.items():
            ahead += len(queue)
            if other is operation:
                break
        expected_wait = ahead * self._average_duration / self._slots()
        is_queue_full = len(self._queues[operation]) >= MAX_QUEUED
        return not is_queue_full and expected_wait < MAX_WAIT_SECONDS[operation]

    def turn_away(self, operation: Operation) -> Overloaded:
        """The refusal, which tells each caller a different time to return."""
        now = self._clock()
        self._turned_away_at.append(now)
        while self._turned_away_at[0] < now - 1:
            self._turned_away_at.popleft()
        self._metrics.count_turned_away(operation)
        seconds = min(max(len(self._turned_away_at) / RETURNS_PER_SECOND, 1), MAX_RETRY_SECONDS)
        spread = random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        return Overloaded(math.ceil(seconds * spread), REFUSALS[operation])

    @asynccontextmanager
    async def _permit(
        self, operation: Operation, while_waiting: WhileWaiting
    ) -> AsyncIterator[Permit]:
        if self._in_use < self._slots():
            self._take_slot()
        elif self.has_room(operation):
            await self._wait_for_slot(operation, while_waiting)
        else:
            raise self.turn_away(operation)
        permit = Permit(self._give_back, self._clock())
        try:
            yield permit
        except TemporalUnavailable:
            if permit.is_held:
                self._limit.record_failure(began=permit.began, now=self._clock())
            raise
        finally:
            permit.release()

    async def _wait_for_slot(self, operation: Operation, while_waiting: WhileWaiting) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        queue = self._queues[operation]
        queue[turn] = None
        self._report()
        expiry = loop.call_later(MAX_WAIT_SECONDS[operation], _resolve, turn, False)
        try:
            async with while_waiting():
                is_admitted = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self._return_slot()  # the turn came in the instant in which the caller gave up
            raise
        finally:
            expiry.cancel()
            queue.pop(turn, None)
            self._report()
        if not is_admitted:
            raise self.turn_away(operation)

    def _slots(self) -> int:
        if self._in_use == 0 and self._clock() - self._used_at > IDLE_SECONDS:
            self._limit.forget_load()
            self._average_duration = INITIAL_DURATION_SECONDS
        return self._limit.slots

    def _take_slot(self) -> None:
        self._in_use += 1
        self._report()

    def _give_back(self, began: float) -> None:
        duration = self._clock() - began
        self._average_duration += DURATION_WEIGHT * (duration - self._average_duration)
        self._return_slot()

    def _return_slot(self) -> None:
        self._in_use -= 1
        self._used_at = self._clock()
        self._admit_waiting()
        self._report()

    def _admit_waiting(self) -> None:
        for queue in self._queues.values():
            while queue and self._in_use < self._limit.slots:
                turn = next(iter(queue))
                del queue[turn]
                if _resolve(turn, True):
                    self._take_slot()

    def _report(self) -> None:
        queued = sum(len(queue) for queue in self._queues.values())
        self._metrics.report(limit=self._limit.slots, in_use=self._in_use, queued=queued)


class AdmissionMetrics:
    """The limit, its use, and who was turned away."""

    def __init__(self, meter: MetricMeter) -> None:
        self._limit = meter.create_gauge(
            "holdfast_admission_limit", "Operations that this process may have under way at once"
        )
        self._in_use = meter.create_gauge(
            "holdfast_admission_in_use", "Operations under way at Temporal"
        )
        self._queued = meter.create_gauge(
            "holdfast_admission_queued", "Requests that wait until Temporal may be asked"
        )
        turned_away = meter.create_counter(
            "holdfast_admission_turned_away", "Requests refused because too many people are buying"
        )
        self._turned_away = {
            operation: turned_away.with_additional_attributes({"operation": str(operation)})
            for operation in Operation
        }
        for counter in self._turned_away.values():
            counter.add(0)  # a series that begins with its first event has never increased

    def report(self, *, limit: int, in_use: int, queued: int) -> None:
        self._limit.set(limit)
        self._in_use.set(in_use)
        self._queued.set(queued)

    def count_turned_away(self, operation: Operation) -> None:
        self._turned_away[operation].add(1)


def _resolve(turn: asyncio.Future[bool], is_admitted: bool) -> bool:
    """Tell who waits; False if they have left or been told already."""
    if turn.done():
        return False
    turn.set_result(is_admitted)
    return True
