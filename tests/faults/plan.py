"""What a run does, drawn from its seed: who buys what and how, and what breaks when."""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Journey(StrEnum):
    """What a buyer means to do."""

    PAID = "paid"
    PAID_TWICE_AT_ONCE = "paid twice at once"
    SECOND_CARD = "second card"
    DECLINED = "declined"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"
    PAID_AND_CANCELLED_AT_ONCE = "paid and cancelled at once"
    PAID_AT_THE_DEADLINE = "paid at the deadline"
    AUTHENTICATED = "authenticated"
    REFUSED_BY_THE_BANK = "refused by the bank"
    AUTHENTICATION_ABANDONED = "authentication abandoned"
    REFUNDED = "refunded"
    REFUNDED_AND_RELISTED = "refunded and relisted"
    RUSHED = "rushed"
    """Several buyers want the ticket at the same time."""
    EDITED_MEANWHILE = "edited meanwhile"
    """Its seller changes the price, and tries to withdraw it, while it is being bought."""
    RELISTED_MEANWHILE = "relisted meanwhile"
    """Its seller withdraws it, lists it anew and changes the price, while two want to buy it."""


JOURNEYS = dict.fromkeys(Journey, 1) | {
    Journey.PAID: 6,
    Journey.PAID_TWICE_AT_ONCE: 3,
    Journey.PAID_AND_CANCELLED_AT_ONCE: 3,
    Journey.AUTHENTICATED: 3,
    Journey.REFUNDED: 2,
    Journey.RUSHED: 2,
    Journey.RELISTED_MEANWHILE: 2,
}
"""How often each is drawn, compared with the others."""


class Break(StrEnum):
    """What can be done to a part."""

    KILL = "kill"
    FREEZE = "freeze"
    STRIPE = "stripe"
    REFUSE = "refuse"
    """MongoDB refuses every write of a collection, at once."""


class Act(StrEnum):
    """What an operator can do to an order's workflow in Temporal."""

    TERMINATE = "terminate"
    RESET = "reset"
    """To any of its workflow tasks, with later signals applied again."""
    TERMINATE_AND_RESET = "terminate, later reset"
    REQUEST_CANCELLATION = "request cancellation"
    POISON_SIGNAL = "poison signal"
    """With a name or an input that no workflow expects."""
    POISON_UPDATE = "poison update"


@dataclass(frozen=True)
class PlannedPurchase:
    """One buyer's errand."""

    number: int
    starts_at: float
    """Seconds after the run's begin."""
    journey: Journey
    price: int
    """In the currency's minor unit."""
    seed: int
    """For what the buyer decides on the way."""


@dataclass(frozen=True)
class PlannedFault:
    """One thing that breaks for a while."""

    starts_at: float
    """Seconds after the run's begin."""
    kind: Break
    target: str
    """A part's name, `mongodb` for whichever node is the primary then, a kind of fault that the
    sandbox knows, or a collection."""
    seconds: float
    """How long it stays dead, frozen or faulty."""
    seed: int = 0


@dataclass(frozen=True)
class PlannedAct:
    """One thing that an operator does to some order that is open then, or was a moment ago."""

    starts_at: float
    """Seconds after the run's begin."""
    kind: Act
    pause: float
    """Seconds between its parts, where it has two."""
    seed: int
    """For which order it is, and what exactly is done."""


@dataclass(frozen=True)
class Plan:
    """A run from its first purchase to its last fault."""

    seed: int
    seconds: float
    purchases: list[PlannedPurchase]
    faults: list[PlannedFault]
    calm_purchases: list[PlannedPurchase] = field(default_factory=list)
    """Made at once before anything breaks, and left to expire."""
    acts: list[PlannedAct] = field(default_factory=list)


KILLED = {"worker-1": 5, "worker-2": 5, "api-1": 4, "api-2": 4, "temporal": 2, "mongodb": 3}
"""Parts that are killed, by how often compared with the others."""
FROZEN = {"worker-1": 3, "worker-2": 3, "api-1": 1, "api-2": 1, "temporal": 1, "mongodb": 2}
STRIPE = {
    "lost_answer": 3,
    "latency": 1,
    "error": 1,
    "error_stored": 1,
    "lost_request": 1,
    "rate_limited": 1,
}
"""Kinds of faults that the sandbox knows."""
REFUSED = {"orders": 2, "charges": 1, "tickets": 1}
"""Collections in which writes are refused."""
ACTS = dict.fromkeys(Act, 1) | {Act.POISON_SIGNAL: 2, Act.TERMINATE_AND_RESET: 2}

DEAD_SECONDS = (0.2, 4.0)
FROZEN_SECONDS = (1.0, 24.0)
"""Up to longer than any timeout of an activity, so that what thaws comes too late."""
FAULTY_SECONDS = (2.0, 8.0)
REFUSING_SECONDS = (0.5, 12.0)
"""Up to longer than a reservation, or any step in place, may take."""

CALM_SHARE = 8
"""For so many purchases while everything breaks, there is one before."""
ACT_SHARE = 5
"""For so many purchases an operator does one thing."""

LEAST_PRICE, HIGHEST_PRICE = 50, 100_000


def draw_plan(seed: int, *, purchases: int, kills: int, seconds: float) -> Plan:
    """The run of this seed: the same seed draws the same run."""
    dice = random.Random(seed)
    return Plan(
        seed,
        seconds,
        _purchases(dice, purchases, seconds),
        _faults(dice, kills, seconds),
        _calm_purchases(dice, purchases // CALM_SHARE),
        _acts(dice, purchases // ACT_SHARE, seconds),
    )


def draw_control(seed: int) -> Plan:
    """A run on which a missing guard shows: rushes, payments, and answers that Stripe loses."""
    dice = random.Random(seed)
    seconds = 10.0
    journeys = [Journey.RUSHED, Journey.PAID, Journey.PAID] * 10
    purchases = [
        PlannedPurchase(number, dice.uniform(0, seconds), journey, 5000, dice.getrandbits(32))
        for number, journey in enumerate(journeys)
    ]
    faults = [
        PlannedFault(0, Break.STRIPE, "lost_answer", 2 * seconds, dice.getrandbits(32)),
        *_faults(dice, 3, seconds),
    ]
    return Plan(seed, seconds, purchases, faults)


def _purchases(dice: random.Random, count: int, seconds: float) -> list[PlannedPurchase]:
    drawn = _drawn(dice, JOURNEYS, count)
    starts = sorted(dice.uniform(0, seconds) for _ in drawn)
    return [
        PlannedPurchase(
            number,
            starts_at,
            journey,
            dice.randint(LEAST_PRICE, HIGHEST_PRICE),
            dice.getrandbits(32),
        )
        for number, (starts_at, journey) in enumerate(zip(starts, drawn, strict=True))
    ]


def _calm_purchases(dice: random.Random, count: int) -> list[PlannedPurchase]:
    return [
        PlannedPurchase(number, 0, Journey.ABANDONED, LEAST_PRICE, dice.getrandbits(32))
        for number in range(count)
    ]


def _faults(dice: random.Random, kills: int, seconds: float) -> list[PlannedFault]:
    drawn = [
        *((Break.KILL, part, DEAD_SECONDS) for part in _drawn(dice, KILLED, kills)),
        *((Break.FREEZE, part, FROZEN_SECONDS) for part in _drawn(dice, FROZEN, kills // 3)),
        *((Break.STRIPE, kind, FAULTY_SECONDS) for kind in _drawn(dice, STRIPE, kills // 2)),
        *((Break.REFUSE, name, REFUSING_SECONDS) for name in _drawn(dice, REFUSED, kills // 5)),
    ]
    faults = [
        PlannedFault(
            dice.uniform(0, seconds), kind, target, dice.uniform(*lasting), dice.getrandbits(32)
        )
        for kind, target, lasting in drawn
    ]
    return sorted(faults, key=lambda fault: fault.starts_at)


def _acts(dice: random.Random, count: int, seconds: float) -> list[PlannedAct]:
    return [
        PlannedAct(
            dice.uniform(0, seconds), kind, dice.uniform(0, seconds / 2), dice.getrandbits(32)
        )
        for kind in _drawn(dice, ACTS, count)
    ]


def _drawn(dice: random.Random, weights: dict[T, int], count: int) -> list[T]:
    """As many as asked for, in any order, and each at least once where there is room."""
    drawn = [*weights, *dice.choices(list(weights), list(weights.values()), k=count)]
    drawn = drawn[:count]
    dice.shuffle(drawn)
    return drawn
