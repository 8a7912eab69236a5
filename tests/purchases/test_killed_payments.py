"""A worker that dies or freezes at any point of `take_payment`: charged once, nothing released.

It dies where it is told to, with what it has done until then; whoever comes next finds that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from activities import payments
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing import heartbeats
from ticketing.payments.fence import PaymentFence
from ticketing.payments.gateway import StripeGateway
from workflows import steps


class WorkerDied(Exception):
    """Nothing of the activity happens any more, and nobody hears of it."""


@dataclass(frozen=True)
class Point:
    """Before or after a call that the activity makes."""

    owner: type
    method: str
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.method}"


POINTS = [
    Point(owner, method, after)
    for owner, method in (
        (OrderActivities, "begin_payment"),
        (StripeGateway, "authorize"),
        (PaymentFence, "before_capture"),
        (StripeGateway, "capture"),
        (PaymentActivities, "_state_of"),
    )
    for after in (False, True)
]


def interrupt(
    patch: pytest.MonkeyPatch, point: Point, end: Callable[[], Awaitable[None]]
) -> list[None]:
    """Run something at the point, the first time that somebody comes there; who has come."""
    call = getattr(point.owner, point.method)
    came: list[None] = []

    async def interrupted(*given: Any, **named: Any) -> Any:
        is_first = not came
        came.append(None)
        if is_first and not point.after:
            await end()
        answer = await call(*given, **named)
        if is_first and point.after:
            await end()
        return answer

    if hasattr(call, "__temporal_activity_definition"):
        interrupted.__temporal_activity_definition = (  # type: ignore[attr-defined] # as it was
            call.__temporal_activity_definition
        )
    patch.setattr(point.owner, point.method, interrupted)
    return came


async def die() -> None:
    raise WorkerDied


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_a_worker_that_dies_charges_once(
    idle_market: Marketplace,
    seller: Person,
    buyer: Person,
    monkeypatch: pytest.MonkeyPatch,
    point: Point,
) -> None:
    came = interrupt(monkeypatch, point, die)
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())

        charge = await buyer.buy(order)

        assert came
        await is_charged_once(idle_market, order, charge)


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_a_worker_that_freezes_does_no_harm_when_it_wakes_up(
    idle_market: Marketplace,
    seller: Person,
    buyer: Person,
    monkeypatch: pytest.MonkeyPatch,
    point: Point,
) -> None:
    is_awake, has_slept = asyncio.Event(), asyncio.Event()

    async def freeze() -> None:
        try:
            await is_awake.wait()
        except asyncio.CancelledError:  # Temporal has given it up; its machine does not know
            await is_awake.wait()
        finally:
            has_slept.set()

    interrupt(monkeypatch, point, freeze)
    monkeypatch.setattr(heartbeats, "BEATS_PER_TIMEOUT", 0.01)
    monkeypatch.setattr(steps, "HEARTBEAT_TIMEOUT", timedelta(seconds=2))
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())

        charge = await buyer.buy(order)
        is_awake.set()

        await has_slept.wait()
        await is_charged_once(idle_market, order, charge)


async def test_control_without_its_keys_a_payment_is_authorized_twice(
    idle_market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, Point(StripeGateway, "authorize", after=True), die)
    monkeypatch.setattr(payments, "idempotency_key", lambda *_: uuid4().hex)
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())

        await buyer.buy(order)

        assert len(idle_market.sandbox.payment_intents()) == 2


async def is_charged_once(
    market: Marketplace, order: dict[str, Any], charge: dict[str, Any]
) -> None:
    await eventually(lambda: market.captured() == [order["ticket"]["price"]])
    assert [intent["id"] for intent in market.sandbox.payment_intents()] == [charge["stripeId"]]
    await market.is_consistent()
