"""The rules, decided from plain facts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ticketing.clock import utc_now
from ticketing.invariants import (
    DOUBT,
    GRACE,
    INVARIANTS,
    AnomalyCode,
    ChargeFacts,
    OrderCase,
    OrderFacts,
    Repair,
    TicketCase,
    TicketFacts,
    Workflow,
    WorkflowFacts,
    order_anomalies,
    ticket_anomalies,
)
from ticketing.payments.intents import IntentStatus, PaymentIntent
from ticketing.statuses import ChargeStatus, OrderStatus

NOW = utc_now()
RUNNING = WorkflowFacts(Workflow.RUNNING, NOW)
CLOSED = WorkflowFacts(Workflow.CLOSED, NOW)
UNKNOWN = WorkflowFacts(Workflow.UNKNOWN)

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

OPEN = OrderCase(
    "order", NOW, OPEN_ORDER, TicketFacts("ticket", "order", is_sold=False), workflow=RUNNING
)
COMPLETED = OrderCase(
    "order",
    NOW,
    COMPLETED_ORDER,
    TicketFacts("ticket", "order", is_sold=True),
    (PAID,),
    workflow=CLOSED,
    intents=(CAPTURED,),
)
CANCELLED = OrderCase("order", NOW, CANCELLED_ORDER, workflow=CLOSED, intents=())


def codes(case: OrderCase) -> set[AnomalyCode]:
    return {anomaly.code for anomaly in order_anomalies(case)}


@pytest.mark.parametrize("case", [OPEN, COMPLETED, CANCELLED])
def test_an_order_as_it_should_be_has_no_anomalies(case: OrderCase) -> None:
    assert order_anomalies(case) == []


@pytest.mark.parametrize("case", [OPEN, COMPLETED, CANCELLED])
def test_what_nobody_asked_for_accuses_nobody(case: OrderCase) -> None:
    assert order_anomalies(replace(case, workflow=None, intents=None)) == []


@pytest.mark.parametrize(
    ("workflow", "past_deadline", "repair"),
    [
        (CLOSED, timedelta(minutes=-15), Repair.CLOSE_ORDER),
        (UNKNOWN, timedelta(minutes=-15), None),
        (UNKNOWN, DOUBT, None),
        (UNKNOWN, DOUBT + timedelta(seconds=1), Repair.CLOSE_ORDER),
    ],
)
def test_an_open_order_wants_a_running_workflow(
    workflow: WorkflowFacts, past_deadline: timedelta, repair: Repair | None
) -> None:
    now = OPEN_ORDER.expires_at + past_deadline
    (anomaly,) = order_anomalies(replace(OPEN, now=now, workflow=workflow))

    assert anomaly.code is AnomalyCode.OPEN_ORDER_WITHOUT_WORKFLOW
    assert anomaly.repair is repair


def test_a_deadline_that_a_worker_may_just_have_missed_is_not_overdue() -> None:
    late = replace(OPEN, now=OPEN_ORDER.expires_at + GRACE)

    assert codes(late) == set()
    assert codes(replace(late, now=late.now + timedelta(seconds=1))) == {AnomalyCode.OVERDUE}


@pytest.mark.parametrize("status", [OrderStatus.CREATED, OrderStatus.AWAITING_PAYMENT])
def test_every_open_status_can_be_overdue(status: OrderStatus) -> None:
    order = replace(OPEN_ORDER, status=status)
    now = order.expires_at + GRACE + timedelta(seconds=1)

    assert codes(replace(OPEN, order=order, now=now)) == {AnomalyCode.OVERDUE}


def test_a_capture_of_another_amount_is_seen_in_an_open_order() -> None:
    open_with = replace(OPEN, intents=(CAPTURED,))

    assert codes(open_with) == set()
    wrong = replace(CAPTURED, amount_received=100)
    assert codes(replace(open_with, intents=(wrong,))) == {AnomalyCode.CAPTURED_ANOTHER_AMOUNT}


def test_a_workflow_may_outlive_its_order_by_a_moment() -> None:
    ending = replace(CANCELLED, workflow=RUNNING, now=NOW + GRACE)

    assert codes(ending) == set()
    assert codes(replace(ending, now=ending.now + timedelta(seconds=1))) == {
        AnomalyCode.CLOSED_ORDER_WITH_WORKFLOW
    }


def test_a_workflow_may_begin_before_its_order() -> None:
    beginning = OrderCase("order", NOW + GRACE, workflow=RUNNING)

    assert codes(beginning) == set()
    assert codes(replace(beginning, now=beginning.now + timedelta(seconds=1))) == {
        AnomalyCode.WORKFLOW_WITHOUT_ORDER
    }


@pytest.mark.parametrize("case", [COMPLETED, CANCELLED])
def test_an_authorization_is_its_workflows_business_while_that_runs(case: OrderCase) -> None:
    second = replace(AUTHORIZED, id="pi_2")
    left = replace(case, intents=(*(case.intents or ()), second))

    assert codes(left) == {AnomalyCode.ABANDONED_AUTHORIZATION}
    assert codes(replace(left, workflow=RUNNING)) == set()


@pytest.mark.parametrize(
    ("workflow", "code", "repair"),
    [
        (RUNNING, None, None),
        (CLOSED, AnomalyCode.ABANDONED_AUTHORIZATION, Repair.CANCEL_INTENT),
        (UNKNOWN, AnomalyCode.AUTHORIZATION_OF_UNKNOWN_ORDER, None),
    ],
)
def test_an_authorization_without_an_order_is_ours_if_temporal_knows_its_workflow(
    workflow: WorkflowFacts, code: AnomalyCode | None, repair: Repair | None
) -> None:
    found = order_anomalies(OrderCase("order", NOW, workflow=workflow, intents=(AUTHORIZED,)))

    assert [(a.code, a.repair) for a in found] == ([(code, repair)] if code else [])


def test_money_that_went_back_is_not_kept() -> None:
    kept = replace(CANCELLED, intents=(CAPTURED,))

    assert codes(kept) == {AnomalyCode.CAPTURED_FOR_CANCELLED_ORDER}
    assert codes(replace(kept, intents=(replace(CAPTURED, amount_refunded=5000),))) == set()
    assert codes(replace(kept, intents=(replace(CAPTURED, amount_refunded=4999),))) != set()


def test_a_refund_is_its_own_workflows_business_while_that_runs() -> None:
    refunded = replace(COMPLETED, intents=(replace(CAPTURED, amount_refunded=5000),))

    assert codes(replace(refunded, refund=CLOSED)) == {AnomalyCode.REFUND_NOT_RECORDED}
    assert codes(replace(refunded, refund=RUNNING)) == set()


def test_a_refund_in_part_is_the_operators_own_affair() -> None:
    partly = replace(COMPLETED, intents=(replace(CAPTURED, amount_refunded=100),))

    assert codes(partly) == set()


def test_a_lock_is_released_unless_somebody_works_on_its_order() -> None:
    locked = TicketCase(TicketFacts("ticket", "order", is_sold=False), named=CANCELLED_ORDER)
    (idle,) = ticket_anomalies(replace(locked, workflow=CLOSED))
    (running,) = ticket_anomalies(replace(locked, workflow=RUNNING))

    assert idle.code is running.code is AnomalyCode.LOCK_OF_CANCELLED_ORDER
    assert (idle.repair, running.repair) == (Repair.RELEASE_TICKET, None)


def test_every_code_belongs_to_an_invariant() -> None:
    assert INVARIANTS.keys() == set(AnomalyCode)
