"""The harness reports each violation that is planted, and none in a sound market."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.breaking import Disturbance
from tests.faults.invariants import RECOVERY_SECONDS, Evidence, untold_orders, violations
from tests.faults.pace import WORK, Pace
from tests.faults.plan import Act
from tests.faults.promises import ListedTicket, Promises, ReservedOrder

DEADLINE = datetime(2026, 1, 1, 12, tzinfo=UTC)

Planted = Callable[[Evidence, Promises], None]


def order(ticket: str, status: str, reason: str | None = None) -> dict[str, Any]:
    return {
        "ticket_id": ticket,
        "user_id": "buyer",
        "ticket": {"price": 5000, "currency": "usd"},
        "status": status,
        "cancel_reason": reason,
        "expires_at": DEADLINE,
        "cancelled_at": DEADLINE if status == "cancelled" else None,
    }


def intent(order: str, status: str, captured: int = 0, refunded: int = 0) -> dict[str, Any]:
    return {
        "id": f"pi_{order}",
        "status": status,
        "amount": 5000,
        "currency": "usd",
        "captured": captured,
        "refunded": refunded,
        "metadata": {"order_id": order},
    }


def charge(order: str, status: str) -> dict[str, Any]:
    return {"order_id": order, "status": status, "amount": 5000, "currency": "usd"}


@pytest.fixture
def evidence() -> Evidence:
    """A market with one order of each kind, all of it sound."""
    orders = {
        "sold": order("t-sold", "completed"),
        "open": order("t-open", "created"),
        "expired": order("t-free", "cancelled", "expired"),
        "refunded": order("t-gone", "cancelled", "refunded"),
    }
    tickets: dict[str, dict[str, Any]] = {
        "t-sold": {"order_id": "sold", "sold_at": DEADLINE},
        "t-open": {"order_id": "open", "sold_at": None},
        "t-free": {"order_id": None, "sold_at": None},
    }
    return Evidence(
        tickets=tickets,
        orders=orders,
        charges=[charge("sold", "completed"), charge("refunded", "completed")],
        users={"buyer"},
        running={"order:open"},
        known={f"order:{id}" for id in orders},
        intents=[
            intent("sold", "succeeded", captured=5000),
            intent("refunded", "succeeded", captured=5000, refunded=5000),
        ],
    )


@pytest.fixture
def promises() -> Promises:
    told = [
        ("sold", "t-sold"),
        ("open", "t-open"),
        ("expired", "t-free"),
        ("refunded", "t-gone"),
    ]
    return Promises(
        users={"buyer"},
        listed=[ListedTicket(ticket, 5000) for _, ticket in told],
        reserved={id: ReservedOrder(id, ticket, "buyer", 5000) for id, ticket in told},
        paid={"sold", "refunded"},
        cancelled={"expired"},
        refunded={"refunded"},
        asked_to_refund={"refunded"},
    )


def two_orders_hold_a_ticket(evidence: Evidence, _: Promises) -> None:
    evidence.orders["rival"] = order("t-sold", "completed")


def a_ticket_is_sold_to_nobody(evidence: Evidence, _: Promises) -> None:
    evidence.tickets["t-free"]["sold_at"] = DEADLINE


def a_completed_order_has_no_ticket(evidence: Evidence, _: Promises) -> None:
    del evidence.tickets["t-sold"]


def a_cancelled_order_keeps_its_ticket(evidence: Evidence, _: Promises) -> None:
    evidence.tickets["t-free"]["order_id"] = "expired"


def an_open_order_does_not_hold_its_ticket(evidence: Evidence, _: Promises) -> None:
    evidence.tickets["t-open"]["order_id"] = None


def a_completed_order_was_never_paid(evidence: Evidence, _: Promises) -> None:
    evidence.charges.clear()


def stripe_captured_something_else(evidence: Evidence, _: Promises) -> None:
    evidence.intents[0]["captured"] = 4999


def stripe_captured_twice(evidence: Evidence, _: Promises) -> None:
    evidence.intents.append(intent("sold", "succeeded", captured=5000))


def a_cancelled_order_keeps_the_money(evidence: Evidence, _: Promises) -> None:
    evidence.intents.append(intent("expired", "succeeded", captured=5000))


def a_refund_is_missing(evidence: Evidence, _: Promises) -> None:
    evidence.intents[1]["refunded"] = 0


def a_payment_stays_payable_after_expiry(evidence: Evidence, _: Promises) -> None:
    evidence.intents.append(intent("expired", "requires_action"))


def money_is_taken_for_no_order(evidence: Evidence, _: Promises) -> None:
    evidence.intents.append(intent("nowhere", "succeeded", captured=5000))


def a_closed_order_has_a_running_workflow(evidence: Evidence, _: Promises) -> None:
    evidence.running.add("order:sold")


def an_open_order_has_no_workflow(evidence: Evidence, _: Promises) -> None:
    evidence.running.clear()


def a_reservation_ends_late_for_no_reason(evidence: Evidence, _: Promises) -> None:
    evidence.orders["expired"]["cancelled_at"] = DEADLINE + timedelta(seconds=10)


def an_account_is_gone(evidence: Evidence, _: Promises) -> None:
    evidence.users.clear()


def an_order_is_gone(evidence: Evidence, _: Promises) -> None:
    del evidence.orders["expired"]


def an_order_has_another_price(evidence: Evidence, _: Promises) -> None:
    evidence.orders["open"]["ticket"]["price"] = 5001


def a_paid_order_is_cancelled(_: Evidence, promises: Promises) -> None:
    promises.paid.add("expired")


def a_cancelled_order_is_completed(_: Evidence, promises: Promises) -> None:
    promises.cancelled.add("sold")


def a_refunded_order_is_completed(_: Evidence, promises: Promises) -> None:
    promises.refunded.add("sold")


def a_withdrawn_ticket_is_back(_: Evidence, promises: Promises) -> None:
    promises.withdrawn.add("t-free")


def an_operator_cancelled_who_did_nothing(evidence: Evidence, _: Promises) -> None:
    evidence.orders["expired"]["cancel_reason"] = "cancelled_by_operator"


def a_payment_was_begun_at_another_price(evidence: Evidence, _: Promises) -> None:
    evidence.charges.append(charge("expired", "failed") | {"amount": 4000})


def stripe_was_asked_for_another_price(evidence: Evidence, _: Promises) -> None:
    evidence.intents.append(intent("expired", "canceled") | {"amount": 4000})


def a_buyer_named_another_price(_: Evidence, promises: Promises) -> None:
    promises.reserved["sold"] = replace(promises.reserved["sold"], named=4000)


def a_buyer_was_told_another_price(_: Evidence, promises: Promises) -> None:
    promises.reserved["sold"] = replace(promises.reserved["sold"], price=4000)


def a_reservation_stays_of_which_nobody_was_told(_: Evidence, promises: Promises) -> None:
    del promises.reserved["expired"]


PLANTED: list[tuple[str, Planted]] = [
    ("I1", two_orders_hold_a_ticket),
    ("I2", a_ticket_is_sold_to_nobody),
    ("I2", a_completed_order_has_no_ticket),
    ("I3", a_cancelled_order_keeps_its_ticket),
    ("I3", an_open_order_does_not_hold_its_ticket),
    ("I4", a_completed_order_was_never_paid),
    ("I4", stripe_captured_something_else),
    ("I4", stripe_captured_twice),
    ("I5", a_cancelled_order_keeps_the_money),
    ("I5", a_refund_is_missing),
    ("I5", a_payment_stays_payable_after_expiry),
    ("I5", money_is_taken_for_no_order),
    ("I6", a_closed_order_has_a_running_workflow),
    ("I6", an_open_order_has_no_workflow),
    ("I7", a_reservation_ends_late_for_no_reason),
    ("I8", an_account_is_gone),
    ("I8", an_order_is_gone),
    ("I8", an_order_has_another_price),
    ("I8", a_paid_order_is_cancelled),
    ("I8", a_cancelled_order_is_completed),
    ("I8", a_refunded_order_is_completed),
    ("I8", a_withdrawn_ticket_is_back),
    ("I8", an_operator_cancelled_who_did_nothing),
    ("I8", a_reservation_stays_of_which_nobody_was_told),
    ("I4", a_payment_was_begun_at_another_price),
    ("I4", stripe_was_asked_for_another_price),
    ("I8", a_buyer_named_another_price),
    ("I8", a_buyer_was_told_another_price),
]


def sound(evidence: Evidence, promises: Promises) -> list[str]:
    """What is said, but for the order that is open: at the end of a run there is none."""
    said = violations(evidence, promises) + untold_orders(evidence, promises)
    return [violation for violation in said if "order open is still" not in violation]


def test_a_sound_market_is_not_accused(evidence: Evidence, promises: Promises) -> None:
    assert sound(evidence, promises) == []


@pytest.mark.parametrize(("invariant", "plant"), PLANTED, ids=lambda p: getattr(p, "__name__", p))
def test_a_violation_is_seen(
    invariant: str, plant: Planted, evidence: Evidence, promises: Promises
) -> None:
    plant(evidence, promises)

    assert any(said.startswith(f"{invariant}:") for said in sound(evidence, promises))


def test_an_order_that_stays_open_is_seen(evidence: Evidence, promises: Promises) -> None:
    assert "I7: order open is still created" in violations(evidence, promises)


def test_a_reservation_that_was_given_up_need_not_be_told(
    evidence: Evidence, promises: Promises
) -> None:
    del promises.reserved["expired"]
    end_late(evidence, -60)
    promises.cancelled.clear()

    assert sound(evidence, promises) == []


def test_what_an_operator_did_is_excused_and_what_they_did_not_do_is_not(
    evidence: Evidence, promises: Promises
) -> None:
    an_operator_cancelled_who_did_nothing(evidence, promises)
    evidence.acted_on = {"expired": {Act.TERMINATE}}
    assert sound(evidence, promises) == []

    evidence.orders["expired"]["cancel_reason"] = "expired"
    end_late(evidence, 300)
    assert sound(evidence, promises) == []

    evidence.acted_on = {"sold": {Act.TERMINATE}, "expired": {Act.POISON_SIGNAL}}
    assert [said[:3] for said in sound(evidence, promises)] == ["I7:"]


@pytest.mark.parametrize(
    ("about", "status", "is_seen"),
    [
        ({"order_id": "sold"}, "repaired", False),
        ({"order_id": "sold"}, "resolved", False),
        ({"order_id": "sold"}, "open", True),
        ({"ticket_id": "t-sold"}, "repaired", False),
        ({"ticket_id": "t-sold"}, "open", True),
        ({"order_id": "expired"}, "repaired", True),
        ({"ticket_id": "t-free"}, "resolved", True),
    ],
)
def test_a_finding_is_excused_where_an_operator_acted_and_it_was_put_right(
    evidence: Evidence, promises: Promises, about: dict[str, str], status: str, is_seen: bool
) -> None:
    evidence.acted_on = {"sold": {Act.RESET}}
    evidence.findings = [{"detail": "Something.", "status": status, **about}]

    expected = [f"reconciliation said ({status}): Something."] if is_seen else []
    assert sound(evidence, promises) == expected


def measured(slowdown: float) -> Pace:
    """An hour around the deadline on a machine that was so much slower all the time."""
    begin = DEADLINE.timestamp() - 1800
    step = WORK.pause + slowdown * WORK.takes
    return Pace({WORK: [begin + n * step for n in range(int(3600 / step))]})


def end_late(evidence: Evidence, seconds: float, order_id: str = "expired") -> None:
    evidence.orders[order_id]["cancelled_at"] = DEADLINE + timedelta(seconds=seconds)


def let_one_expire_while_all_is_calm(evidence: Evidence, promises: Promises, late: float) -> None:
    promises.reserved["calm"] = ReservedOrder("calm", "t-calm", "buyer", 5000)
    evidence.orders["calm"] = order("t-calm", "cancelled", "expired")
    evidence.known.add("order:calm")
    evidence.calm = {"calm"}
    end_late(evidence, late, "calm")


@pytest.mark.parametrize(
    ("slowdown", "calm", "late", "is_seen"),
    [
        (1, 0.1, 1.5, False),
        (1, 0.1, 4.0, True),  # an idle machine explains nothing
        (1, 1.5, 4.0, False),  # unless it was as late when nothing was broken
        (5, 0.1, 4.0, False),  # nor is a burnt one late for no reason
        (5, 0.5, 12.0, False),
        (5, 0.5, 40.0, True),  # but load does not explain everything
    ],
)
def test_lateness_is_judged_by_the_machine_and_its_load(
    evidence: Evidence,
    promises: Promises,
    slowdown: float,
    calm: float,
    late: float,
    is_seen: bool,
) -> None:
    evidence.pace = measured(slowdown)
    let_one_expire_while_all_is_calm(evidence, promises, calm)
    end_late(evidence, late)

    said = sound(evidence, promises)

    assert len(said) == is_seen
    assert all(f"I7: order expired expired {late:.1f} s late" in line for line in said)


def test_a_reservation_that_ends_late_while_all_is_calm_is_seen(
    evidence: Evidence, promises: Promises
) -> None:
    let_one_expire_while_all_is_calm(evidence, promises, 20)

    assert [said[:3] for said in sound(evidence, promises)] == ["I7:"]

    evidence.pace = measured(10)
    assert sound(evidence, promises) == []


def test_recovery_takes_longer_on_a_machine_that_is_slower(
    evidence: Evidence, promises: Promises
) -> None:
    end_late(evidence, 60)
    evidence.disturbances = [Disturbance("worker-1", DEADLINE.timestamp(), DEADLINE.timestamp())]
    assert len(sound(evidence, promises)) == 1

    evidence.pace = measured(3)
    assert sound(evidence, promises) == []


def test_lateness_is_excused_while_something_is_broken(
    evidence: Evidence, promises: Promises
) -> None:
    evidence.orders["expired"]["cancelled_at"] = DEADLINE + timedelta(seconds=60)
    broken = (DEADLINE.timestamp() - 5, DEADLINE.timestamp() + 58 - RECOVERY_SECONDS)

    evidence.disturbances = [Disturbance("worker-1", *broken)]

    assert sound(evidence, promises) == []
