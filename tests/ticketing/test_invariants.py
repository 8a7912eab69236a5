"""The rules, decided from plain facts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ticketing.clock import utc_now
from ticketing.invariants import (
    GRACE,
    INVARIANTS,
    UNKNOWN_WORKFLOW_GRACE,
    ChargeFacts,
    OrderFacts,
    OrderStateSnapshot,
    Repair,
    TicketFacts,
    TicketStateSnapshot,
    ViolationCode,
    WorkflowFacts,
    WorkflowState,
    order_violations,
    ticket_violations,
)
from ticketing.payments.intents import IntentStatus, PaymentIntent
from ticketing.statuses import ChargeStatus, OrderStatus

NOW = utc_now()
RUNNING = WorkflowFacts(WorkflowState.RUNNING, NOW)
CLOSED = WorkflowFacts(WorkflowState.CLOSED, NOW)
UNKNOWN = WorkflowFacts(WorkflowState.UNKNOWN)

OPEN_ORDER = OrderFacts(
    id="order",
    ticket_id="ticket",
    status=OrderStatus.CREATED,
    price=5000,
    currency="usd",
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=15),
    closed_at=None,
)
COMPLETED_ORDER = replace(OPEN_ORDER, status=OrderStatus.COMPLETED, closed_at=NOW)
CANCELLED_ORDER = replace(OPEN_ORDER, status=OrderStatus.CANCELLED, closed_at=NOW)
PAID = ChargeFacts("charge", 1, ChargeStatus.COMPLETED, 5000, "usd", "pi")
CAPTURED = PaymentIntent("pi", IntentStatus.SUCCEEDED, 5000, 5000, "usd", "order")
AUTHORIZED = replace(CAPTURED, status=IntentStatus.REQUIRES_CAPTURE, amount_received=0)

OPEN = OrderStateSnapshot(
    "order", NOW, OPEN_ORDER, TicketFacts("ticket", "order", is_sold=False), workflow=RUNNING
)
COMPLETED = OrderStateSnapshot(
    "order",
    NOW,
    COMPLETED_ORDER,
    TicketFacts("ticket", "order", is_sold=True),
    (PAID,),
    workflow=CLOSED,
    intents=(CAPTURED,),
)
CANCELLED = OrderStateSnapshot("order", NOW, CANCELLED_ORDER, workflow=CLOSED, intents=())


def codes(snapshot: OrderStateSnapshot) -> set[ViolationCode]:
    return {violation.code for violation in order_violations(snapshot)}


@pytest.mark.parametrize("snapshot", [OPEN, COMPLETED, CANCELLED])
def test_an_order_as_it_should_be_has_no_violations(snapshot: OrderStateSnapshot) -> None:
    assert order_violations(snapshot) == []


@pytest.mark.parametrize("snapshot", [OPEN, COMPLETED, CANCELLED])
def test_what_nobody_asked_for_accuses_nobody(snapshot: OrderStateSnapshot) -> None:
    assert order_violations(replace(snapshot, workflow=None, intents=None)) == []


@pytest.mark.parametrize(
    ("workflow", "past_deadline", "repair"),
    [
        (CLOSED, timedelta(minutes=-15), Repair.CLOSE_ORDER),
        (UNKNOWN, timedelta(minutes=-15), None),
        (UNKNOWN, UNKNOWN_WORKFLOW_GRACE, None),
        (UNKNOWN, UNKNOWN_WORKFLOW_GRACE + timedelta(seconds=1), Repair.CLOSE_ORDER),
    ],
)
def test_an_open_order_wants_a_running_workflow(
    workflow: WorkflowFacts, past_deadline: timedelta, repair: Repair | None
) -> None:
    now = OPEN_ORDER.expires_at + past_deadline
    (violation,) = order_violations(replace(OPEN, now=now, workflow=workflow))

    assert violation.code is ViolationCode.OPEN_ORDER_WITHOUT_WORKFLOW
    assert violation.repair is repair


def test_a_deadline_that_a_worker_may_just_have_missed_is_not_overdue() -> None:
    late = replace(OPEN, now=OPEN_ORDER.expires_at + GRACE)

    assert codes(late) == set()
    assert codes(replace(late, now=late.now + timedelta(seconds=1))) == {ViolationCode.OVERDUE}


@pytest.mark.parametrize("status", [OrderStatus.CREATED, OrderStatus.AWAITING_PAYMENT])
def test_every_open_status_can_be_overdue(status: OrderStatus) -> None:
    order = replace(OPEN_ORDER, status=status)
    now = order.expires_at + GRACE + timedelta(seconds=1)

    assert codes(replace(OPEN, order=order, now=now)) == {ViolationCode.OVERDUE}


def test_a_capture_of_another_amount_is_seen_in_an_open_order() -> None:
    open_with = replace(OPEN, intents=(CAPTURED,))

    assert codes(open_with) == set()
    wrong = replace(CAPTURED, amount_received=100)
    assert codes(replace(open_with, intents=(wrong,))) == {ViolationCode.CAPTURED_ANOTHER_AMOUNT}


def test_a_workflow_may_outlive_its_order_by_a_moment() -> None:
    ending = replace(CANCELLED, workflow=RUNNING, now=NOW + GRACE)

    assert codes(ending) == set()
    assert codes(replace(ending, now=ending.now + timedelta(seconds=1))) == {
        ViolationCode.CLOSED_ORDER_WITH_WORKFLOW
    }


def test_a_workflow_may_begin_before_its_order() -> None:
    beginning = OrderStateSnapshot("order", NOW + GRACE, workflow=RUNNING)

    assert codes(beginning) == set()
    assert codes(replace(beginning, now=beginning.now + timedelta(seconds=1))) == {
        ViolationCode.WORKFLOW_WITHOUT_ORDER
    }


@pytest.mark.parametrize("snapshot", [COMPLETED, CANCELLED])
def test_an_authorization_is_its_workflows_business_while_that_runs(
    snapshot: OrderStateSnapshot,
) -> None:
    second = replace(AUTHORIZED, id="pi_2")
    left = replace(snapshot, intents=(*(snapshot.intents or ()), second))

    assert codes(left) == {ViolationCode.ABANDONED_AUTHORIZATION}
    assert codes(replace(left, workflow=RUNNING)) == set()


@pytest.mark.parametrize(
    ("workflow", "code", "repair"),
    [
        (RUNNING, None, None),
        (CLOSED, ViolationCode.ABANDONED_AUTHORIZATION, Repair.CANCEL_INTENT),
        (UNKNOWN, ViolationCode.AUTHORIZATION_OF_UNKNOWN_ORDER, None),
    ],
)
def test_an_authorization_without_an_order_is_ours_if_temporal_knows_its_workflow(
    workflow: WorkflowFacts, code: ViolationCode | None, repair: Repair | None
) -> None:
    found = order_violations(
        OrderStateSnapshot("order", NOW, workflow=workflow, intents=(AUTHORIZED,))
    )

    assert [(a.code, a.repair) for a in found] == ([(code, repair)] if code else [])


def test_money_that_went_back_is_not_kept() -> None:
    kept = replace(CANCELLED, intents=(CAPTURED,))

    assert codes(kept) == {ViolationCode.CAPTURED_FOR_CANCELLED_ORDER}
    assert codes(replace(kept, intents=(replace(CAPTURED, amount_refunded=5000),))) == set()
    assert codes(replace(kept, intents=(replace(CAPTURED, amount_refunded=4999),))) != set()


def test_a_refund_is_its_own_workflows_business_while_that_runs() -> None:
    refunded = replace(COMPLETED, intents=(replace(CAPTURED, amount_refunded=5000),))

    assert codes(replace(refunded, refund=CLOSED)) == {ViolationCode.REFUND_NOT_RECORDED}
    assert codes(replace(refunded, refund=RUNNING)) == set()


def test_a_refund_in_part_is_the_operators_own_affair() -> None:
    partly = replace(COMPLETED, intents=(replace(CAPTURED, amount_refunded=100),))

    assert codes(partly) == set()


def test_a_lock_is_released_unless_somebody_works_on_its_order() -> None:
    locked = TicketStateSnapshot(
        TicketFacts("ticket", "order", is_sold=False), named=CANCELLED_ORDER
    )
    (idle,) = ticket_violations(replace(locked, workflow=CLOSED))
    (running,) = ticket_violations(replace(locked, workflow=RUNNING))

    assert idle.code is running.code is ViolationCode.LOCK_OF_CANCELLED_ORDER
    assert (idle.repair, running.repair) == (Repair.RELEASE_TICKET, None)


def test_every_code_belongs_to_an_invariant() -> None:
    assert INVARIANTS.keys() == set(ViolationCode)
