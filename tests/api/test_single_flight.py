"""One call at a time for a key, whose outcome is shared."""

import asyncio

import pytest

from api.orders.single_flight import CallCancelled, SingleFlight


class Boom(Exception):
    pass


async def test_who_waits_gets_the_leaders_result() -> None:
    flights, answer = SingleFlight[str, int](), asyncio.Future[int]()

    async def call() -> int:
        return await answer

    leader = asyncio.create_task(flights.run("ticket", call()))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(flights.wait("ticket")) for _ in range(3)]
    await asyncio.sleep(0)
    assert flights.is_in_flight("ticket")
    assert not flights.is_in_flight("another")
    answer.set_result(7)

    assert await asyncio.gather(leader, *waiting) == [7, 7, 7, 7]
    assert not flights.is_in_flight("ticket")


async def test_who_waits_gets_the_leaders_failure() -> None:
    flights, may_fail = SingleFlight[str, int](), asyncio.Event()

    async def call() -> int:
        await may_fail.wait()
        raise Boom

    leader = asyncio.create_task(flights.run("ticket", call()))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(flights.wait("ticket"))
    await asyncio.sleep(0)
    may_fail.set()

    for task in (leader, waiting):
        with pytest.raises(Boom):
            await task
    assert not flights.is_in_flight("ticket")


async def test_a_cancelled_leader_cancels_nobody_else() -> None:
    flights = SingleFlight[str, int]()

    async def call() -> int:
        return await asyncio.Future[int]()

    leader = asyncio.create_task(flights.run("ticket", call()))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(flights.wait("ticket"))
    await asyncio.sleep(0)
    leader.cancel()

    with pytest.raises(CallCancelled):
        await waiting
    assert not flights.is_in_flight("ticket")


async def test_who_stops_waiting_does_not_cancel_the_leader() -> None:
    flights, answer = SingleFlight[str, int](), asyncio.Future[int]()

    async def call() -> int:
        return await answer

    leader = asyncio.create_task(flights.run("ticket", call()))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(flights.wait("ticket"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    answer.set_result(7)

    assert await leader == 7
