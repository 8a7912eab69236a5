"""Who is admitted to Temporal, who waits, who is turned away; and no slot is ever lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import pytest

from api.temporal import admission as admissions
from api.temporal.admission import MAX_QUEUED, Admission, Operation, Permit
from api.temporal.concurrency_limit import IDLE_SECONDS, MIN_LIMIT, ConcurrencyLimit
from tests.observability.meters import ReadableMeter
from ticketing.errors import Overloaded, TemporalUnavailable

SLOTS = 2
RESERVATION, PAYMENT = Operation.RESERVATION, Operation.PAYMENT


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """An admission with few slots, and callers whose operations end when they are told to."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.clock = Clock()
        self.readable = ReadableMeter()
        self.limit = ConcurrencyLimit(slots)
        self.admission = Admission(self.readable.meter, limit=self.limit, clock=self.clock)
        self.begun: list[str] = []
        self._may_end: dict[str, asyncio.Event] = {}
        self.callers: dict[str, asyncio.Task[None]] = {}

    async def call(self, operation: Operation, *names: str) -> None:
        """Let callers ask, one after the other."""
        for name in names:
            self._may_end[name] = asyncio.Event()
            self.callers[name] = asyncio.create_task(self._ask(operation, name))
            await settled()

    async def end(self, *names: str) -> None:
        for name in names:
            self._may_end[name].set()
        await settled()

    async def leave(self, *names: str) -> None:
        for name in names:
            self.callers[name].cancel()
        await asyncio.gather(*(self.callers[name] for name in names), return_exceptions=True)

    async def _ask(self, operation: Operation, name: str) -> None:
        ask = {RESERVATION: self.admission.reservation, PAYMENT: self.admission.payment}[operation]
        async with ask():
            self.begun.append(name)
            await self._may_end[name].wait()

    @property
    def free_slots(self) -> int:
        return self.limit.slots - self.admission._in_use

    @property
    def queued(self) -> int:
        return sum(map(len, self.admission._queues.values()))

    async def close(self) -> None:
        await self.leave(*self.callers)
        assert self.admission._in_use == 0
        assert self.queued == 0


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.close()


async def settled() -> None:
    """Let every task run until it waits for something that is not going to happen by itself."""
    for _ in range(10):
        await asyncio.sleep(0)


async def refusal_of(caller: asyncio.Task[None]) -> Overloaded:
    with pytest.raises(Overloaded) as refused:
        await caller
    return refused.value


async def test_beyond_the_limit_they_wait_and_are_served_in_turn(desk: Desk) -> None:
    await desk.call(RESERVATION, "a", "b", "c", "d")
    assert desk.begun == ["a", "b"]
    await desk.end("b")
    assert desk.begun == ["a", "b", "c"]
    await desk.end("a", "c")
    assert desk.begun == ["a", "b", "c", "d"]


async def test_a_payment_comes_before_reservations_that_came_earlier(desk: Desk) -> None:
    await desk.call(RESERVATION, "a", "b", "early", "also early")
    await desk.call(PAYMENT, "payment")
    await desk.end("a")
    assert desk.begun == ["a", "b", "payment"]
    await desk.end("payment")
    assert desk.begun == ["a", "b", "payment", "early"]


async def test_a_reservation_that_waited_in_vain_is_turned_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(admissions.MAX_WAIT_SECONDS, RESERVATION, 0.5)
    await desk.call(RESERVATION, "a", "b", "c")
    await desk.call(PAYMENT, "payment")
    refusal = await refusal_of(desk.callers["c"])
    assert "this request reserved nothing" in str(refusal)
    assert not desk.callers["payment"].done()
    await desk.end("a")
    assert desk.begun == ["a", "b", "payment"]
    assert desk.free_slots == 0


async def test_a_payment_that_waited_in_vain_is_turned_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(admissions.MAX_WAIT_SECONDS, PAYMENT, 0.05)
    await desk.call(PAYMENT, "a", "b", "c")
    refusal = await refusal_of(desk.callers["c"])
    assert "nothing was charged" in str(refusal)
    assert desk.queued == 0


async def test_who_cannot_be_served_in_time_is_turned_away_at_once(desk: Desk) -> None:
    # Each takes 1 s: of those who wait, two per second are served.
    desk.admission._average_duration = 1.0
    await desk.call(RESERVATION, "a", "b", "c", "d")
    assert desk.callers["d"].done()
    await refusal_of(desk.callers["d"])
    assert desk.admission.has_room(PAYMENT)
    await desk.call(PAYMENT, *(f"payment {number}" for number in range(7)))
    assert [name for name, caller in desk.callers.items() if caller.done()] == ["d", "payment 6"]
    await refusal_of(desk.callers["payment 6"])
    assert not desk.admission.has_room(PAYMENT)


async def test_however_quick_the_answers_a_queue_is_bounded(desk: Desk) -> None:
    desk.admission._average_duration = 0.0
    await desk.call(RESERVATION, *(str(number) for number in range(SLOTS + MAX_QUEUED)))
    assert not any(caller.done() for caller in desk.callers.values())
    await desk.call(RESERVATION, "one more")
    await refusal_of(desk.callers["one more"])


async def test_a_permit_that_is_released_early_admits_the_next_and_counts_once(desk: Desk) -> None:
    permits: list[Permit] = []

    async def pay() -> None:
        async with desk.admission.payment() as permit:
            permits.append(permit)
            await asyncio.Future()

    desk.callers = {name: asyncio.create_task(pay()) for name in "abc"}
    await settled()
    assert len(permits) == SLOTS
    permits[0].release()
    permits[0].release()
    await settled()
    assert len(permits) == 3
    assert desk.free_slots == 0
    await desk.leave("a")
    assert desk.free_slots == 0
    await desk.leave("b")
    assert desk.free_slots == 1


@pytest.mark.parametrize("operation", Operation)
async def test_whoever_leaves_leaves_no_slot_taken(desk: Desk, operation: Operation) -> None:
    await desk.call(operation, "a", "b", "c", "d")
    await desk.leave("c")  # in the queue
    assert desk.queued == 1
    await desk.leave("a")  # with a slot, which goes to the next in the queue
    assert desk.begun == ["a", "b", "d"]
    assert desk.free_slots == 0
    await desk.leave("b", "d")
    assert desk.free_slots == SLOTS


@pytest.mark.parametrize("operation", Operation)
async def test_whoever_leaves_in_the_instant_of_their_turn_leaves_no_slot_taken(
    desk: Desk, operation: Operation
) -> None:
    async with desk.admission.payment() as permit:
        await desk.call(operation, "a", "b", "c")
        permit.release()  # it is the turn of b, who does not know yet
        await desk.leave("b")
        assert desk.begun == ["a", "c"]
        assert desk.free_slots == 0
        await desk.leave("c")
    assert desk.free_slots == 1


async def test_whoever_leaves_before_they_have_begun_takes_no_slot(desk: Desk) -> None:
    caller = asyncio.create_task(desk._ask(RESERVATION, "a"))
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    assert desk.free_slots == SLOTS


async def test_what_ends_the_wait_ends_it_without_a_slot(desk: Desk) -> None:
    class Gone(Exception):
        pass

    @asynccontextmanager
    async def until_told(told: asyncio.Event) -> AsyncIterator[None]:
        yield
        if told.is_set():
            raise Gone

    async def ask(told: asyncio.Event) -> None:
        async with desk.admission.reservation(lambda: until_told(told)):
            raise AssertionError("it was told to stop waiting")

    await desk.call(RESERVATION, "a", "b")
    told = asyncio.Event()
    told.set()
    caller = asyncio.create_task(ask(told))
    await settled()
    await desk.end("a")
    with pytest.raises(Gone):
        await caller
    assert desk.free_slots == 1


async def test_late_reservations_shrink_the_limit_and_late_payments_do_not() -> None:
    desk = Desk(slots=20)
    async with desk.admission.payment():
        desk.clock.now += 5
    assert desk.limit.slots == 20
    async with desk.admission.reservation():
        desk.clock.now += 5
    assert desk.limit.slots == 10


@pytest.mark.parametrize("operation", Operation)
async def test_without_answers_the_limit_shrinks_and_grows_again_with_them(
    operation: Operation,
) -> None:
    desk = Desk(slots=20)
    ask = {RESERVATION: desk.admission.reservation, PAYMENT: desk.admission.payment}[operation]
    for _ in range(5):
        with suppress(TemporalUnavailable):
            async with ask():
                desk.clock.now += 0.1
                raise TemporalUnavailable
    assert desk.limit.slots == MIN_LIMIT

    for _ in range(100):
        async with AsyncExitStack() as busy:
            for _ in range(desk.limit.slots):
                await busy.enter_async_context(desk.admission.reservation())
            desk.clock.now += 0.1
    assert desk.limit.slots > 20


async def test_after_a_pause_what_was_learnt_under_load_is_forgotten() -> None:
    desk = Desk(slots=20)
    async with desk.admission.reservation():
        desk.clock.now += 5
    assert desk.limit.slots == 10
    desk.clock.now += IDLE_SECONDS + 1
    async with desk.admission.reservation():
        assert desk.limit.slots == 20


@contextmanager
def fixed_spread(monkeypatch: pytest.MonkeyPatch, spread: float) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(random, "uniform", lambda low, high: low + spread * (high - low))
        yield


def retry_after(desk: Desk) -> int:
    seconds = desk.admission.turn_away(RESERVATION).retry_after
    assert seconds is not None
    return seconds


async def test_the_more_are_turned_away_the_later_they_return(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fixed_spread(monkeypatch, 0.5):
        assert [retry_after(desk) for _ in range(10)] == [1] * 10
        waits = [retry_after(desk) for _ in range(300)]
        assert waits[40] == 6  # the 51st in this second
        assert waits[-1] == 15
        desk.clock.now += 2
        assert retry_after(desk) == 1


async def test_those_turned_away_together_do_not_return_together(desk: Desk) -> None:
    waits = [retry_after(desk) for _ in range(200)]
    assert min(waits) >= 1
    assert len(set(waits[100:])) > 5


async def test_the_metrics_tell_limit_use_queue_and_who_was_turned_away(desk: Desk) -> None:
    def last(name: str) -> float:
        return desk.readable.recorded(f"holdfast_admission_{name}")[-1]

    turned_away = "holdfast_admission_turned_away"
    desk.admission._average_duration = 1.0
    await desk.call(RESERVATION, "a", "b", "c", "d")
    assert (last("limit"), last("in_use"), last("queued")) == (SLOTS, 2, 1)
    assert desk.readable.added(turned_away, operation="reservation") == 1
    assert desk.readable.added(turned_away, operation="payment") == 0
    await refusal_of(desk.callers["d"])
    await desk.leave("c", "a")
    assert (last("in_use"), last("queued")) == (1, 0)
