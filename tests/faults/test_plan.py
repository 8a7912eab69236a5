"""A seed is a run."""

from collections import Counter

from tests.faults.plan import (
    FROZEN,
    KILLED,
    REFUSED,
    STRIPE,
    Act,
    Break,
    Journey,
    draw_plan,
)


def test_the_same_seed_draws_the_same_run() -> None:
    plans = [draw_plan(7, purchases=300, kills=40, seconds=140) for _ in range(2)]

    assert plans[0] == plans[1]
    assert plans[0] != draw_plan(8, purchases=300, kills=40, seconds=140)


def test_a_full_run_has_every_journey_and_breaks_every_part() -> None:
    plan = draw_plan(7, purchases=300, kills=40, seconds=140)

    assert len(plan.purchases) == 300
    assert {purchase.journey for purchase in plan.calm_purchases} == {Journey.ABANDONED}
    assert {purchase.journey for purchase in plan.purchases} == set(Journey)
    assert Counter(fault.kind for fault in plan.faults)[Break.KILL] == 40
    broken = {(fault.kind, fault.target) for fault in plan.faults}
    assert broken >= {(Break.KILL, part) for part in KILLED}
    assert broken >= {(Break.FREEZE, part) for part in FROZEN}
    assert broken >= {(Break.STRIPE, kind) for kind in STRIPE}
    assert broken >= {(Break.REFUSE, collection) for collection in REFUSED}
    assert {act.kind for act in plan.acts} == set(Act)


def test_everything_happens_within_the_time_of_the_run() -> None:
    plan = draw_plan(7, purchases=300, kills=40, seconds=140)

    starts = [purchase.starts_at for purchase in plan.purchases]
    starts += [fault.starts_at for fault in plan.faults]
    starts += [act.starts_at for act in plan.acts]
    assert min(starts) >= 0
    assert max(starts) <= 140
