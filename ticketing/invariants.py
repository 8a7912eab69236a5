"""What must hold of every ticket and every order, decided from plain facts.

No I/O: the caller takes the snapshot and makes the repair. A fact that was not read is None, and
the rules that need it report nothing. An order whose workflow runs is left to that workflow:
nothing of it is repaired from outside.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, auto

from ticketing.payments.intents import IntentStatus, PaymentIntent
from ticketing.statuses import ChargeStatus, OrderStatus

GRACE = timedelta(minutes=2)
"""How long after a deadline, or an order's close, its workflow may still run.

A worker that has just restarted needs that long to catch up.
"""

UNKNOWN_WORKFLOW_GRACE = timedelta(hours=1)
"""How long after its deadline an open order is kept open whose workflow Temporal does not know.

It may be the wrong Temporal: another namespace, or a server whose data is lost or not yet
restored. After this time, a workflow that runs elsewhere has closed the order itself.
"""

CANCELLABLE_STATUSES = frozenset(
    {
        IntentStatus.REQUIRES_PAYMENT_METHOD,
        IntentStatus.REQUIRES_CONFIRMATION,
        IntentStatus.REQUIRES_ACTION,
        IntentStatus.REQUIRES_CAPTURE,
    }
)
"""An intent in one of these states has money authorized, or may yet have."""


class Scope(StrEnum):
    """How much a run checks."""

    RECENT = "recent"
    """What is open, and what was created or closed in the last two days."""
    FULL = "full"
    """Everything."""


class Invariant(StrEnum):
    """What holds at every instant, or as soon as no step is under way."""

    I1 = "I1"
    """A ticket has at most one order that is live or completed."""
    I2 = "I2"
    """A ticket is sold if and only if its order is completed."""
    I3 = "I3"
    """A ticket's lock names a live or completed order of that ticket."""
    I4 = "I4"
    """A completed order was paid once, its price exactly, and Stripe has captured just that."""
    I5 = "I5"
    """Nobody's money is taken, or kept aside, for an order that did not complete."""
    I6 = "I6"
    """An open order has a running workflow, and a closed one has none."""
    I7 = "I7"
    """No order is open past its deadline."""


class ViolationCode(StrEnum):
    """What is wrong, for programs; docs/reconciliation.md says what to do about each."""

    SEVERAL_HOLDING_ORDERS = auto()
    SOLD_WITHOUT_COMPLETED_ORDER = auto()
    COMPLETED_WITHOUT_SOLD_TICKET = auto()
    LOCK_WITHOUT_ORDER = auto()
    LOCK_OF_CANCELLED_ORDER = auto()
    LOCK_OF_ANOTHER_TICKET = auto()
    OPEN_ORDER_WITHOUT_TICKET = auto()
    COMPLETED_WITHOUT_CHARGE = auto()
    CHARGED_ANOTHER_AMOUNT = auto()
    COMPLETED_WITHOUT_CAPTURE = auto()
    CAPTURED_ANOTHER_AMOUNT = auto()
    CAPTURED_TWICE = auto()
    REFUND_NOT_RECORDED = auto()
    CAPTURED_FOR_CANCELLED_ORDER = auto()
    CAPTURED_FOR_UNKNOWN_ORDER = auto()
    ABANDONED_AUTHORIZATION = auto()
    AUTHORIZATION_OF_UNKNOWN_ORDER = auto()
    OPEN_ORDER_WITHOUT_WORKFLOW = auto()
    CLOSED_ORDER_WITH_WORKFLOW = auto()
    WORKFLOW_WITHOUT_ORDER = auto()
    OVERDUE = auto()


class Repair(StrEnum):
    """How a violation is put right, where there is exactly one way."""

    RELEASE_TICKET = auto()
    CANCEL_INTENT = auto()
    CLOSE_ORDER = auto()
    """Complete it if it was paid, else cancel it; Stripe says which."""
    RECORD_REFUND = auto()


class WorkflowState(StrEnum):
    """The state of an order's workflow."""

    RUNNING = auto()
    CLOSED = auto()
    UNKNOWN = auto()
    """Temporal has no workflow of that id: deleted, past its retention, or never started."""


@dataclass(frozen=True)
class WorkflowFacts:
    """What Temporal says about the workflow of an order."""

    state: WorkflowState
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_running(self) -> bool:
        return self.state is WorkflowState.RUNNING


@dataclass(frozen=True)
class TicketFacts:
    """A ticket's lock."""

    id: str
    order_id: str | None
    is_sold: bool


@dataclass(frozen=True)
class OrderFacts:
    """An order's document."""

    id: str
    ticket_id: str
    status: OrderStatus
    price: int
    """In the currency's minor unit."""
    currency: str
    created_at: datetime
    expires_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True)
class ChargeFacts:
    """A charge's document."""

    id: str
    attempt: int
    status: ChargeStatus
    amount: int
    """In the currency's minor unit."""
    currency: str
    intent_id: str | None


@dataclass(frozen=True)
class TicketStateSnapshot:
    """A ticket and its orders at one instant."""

    ticket: TicketFacts
    holding_order_ids: tuple[str, ...] = ()
    """The orders of this ticket that are live or completed."""
    named: OrderFacts | None = None
    """The order that the lock names."""
    workflow: WorkflowFacts | None = None
    """Of the order that the lock names."""


@dataclass(frozen=True)
class OrderStateSnapshot:
    """An order and its ticket, charges, workflows and payment intents."""

    order_id: str
    now: datetime
    order: OrderFacts | None = None
    ticket: TicketFacts | None = None
    charges: tuple[ChargeFacts, ...] = ()
    workflow: WorkflowFacts | None = None
    refund: WorkflowFacts | None = None
    """The workflow that gives the money back, or records that it went."""
    intents: tuple[PaymentIntent, ...] | None = None
    knows_all_intents: bool = True
    """Whether an intent that is not among them does not exist."""


@dataclass(frozen=True)
class Violation:
    """An invariant that does not hold, and its repair, where there is exactly one."""

    code: ViolationCode
    detail: str
    """For operators: ids and amounts, and nothing personal."""
    repair: Repair | None = None
    intent_id: str | None = None

    @property
    def invariant(self) -> Invariant:
        return INVARIANTS[self.code]


INVARIANTS = {
    ViolationCode.SEVERAL_HOLDING_ORDERS: Invariant.I1,
    ViolationCode.SOLD_WITHOUT_COMPLETED_ORDER: Invariant.I2,
    ViolationCode.COMPLETED_WITHOUT_SOLD_TICKET: Invariant.I2,
    ViolationCode.LOCK_WITHOUT_ORDER: Invariant.I3,
    ViolationCode.LOCK_OF_CANCELLED_ORDER: Invariant.I3,
    ViolationCode.LOCK_OF_ANOTHER_TICKET: Invariant.I3,
    ViolationCode.OPEN_ORDER_WITHOUT_TICKET: Invariant.I3,
    ViolationCode.COMPLETED_WITHOUT_CHARGE: Invariant.I4,
    ViolationCode.CHARGED_ANOTHER_AMOUNT: Invariant.I4,
    ViolationCode.COMPLETED_WITHOUT_CAPTURE: Invariant.I4,
    ViolationCode.CAPTURED_ANOTHER_AMOUNT: Invariant.I4,
    ViolationCode.CAPTURED_TWICE: Invariant.I4,
    ViolationCode.REFUND_NOT_RECORDED: Invariant.I4,
    ViolationCode.CAPTURED_FOR_CANCELLED_ORDER: Invariant.I5,
    ViolationCode.CAPTURED_FOR_UNKNOWN_ORDER: Invariant.I5,
    ViolationCode.ABANDONED_AUTHORIZATION: Invariant.I5,
    ViolationCode.AUTHORIZATION_OF_UNKNOWN_ORDER: Invariant.I5,
    ViolationCode.OPEN_ORDER_WITHOUT_WORKFLOW: Invariant.I6,
    ViolationCode.CLOSED_ORDER_WITH_WORKFLOW: Invariant.I6,
    ViolationCode.WORKFLOW_WITHOUT_ORDER: Invariant.I6,
    ViolationCode.OVERDUE: Invariant.I7,
}


def ticket_violations(snapshot: TicketStateSnapshot) -> list[Violation]:
    """The violations of I1, I2 and I3 that a ticket's lock shows."""
    found = list(_of_rivals(snapshot))
    if snapshot.ticket.is_sold:
        found += _of_sold_ticket(snapshot)
    elif snapshot.ticket.order_id is not None:
        found += _of_lock(snapshot)
    return found


def order_violations(snapshot: OrderStateSnapshot) -> list[Violation]:
    """The violations of I4 to I7, and those of I2 and I3 that the order's document shows."""
    if snapshot.order is None:
        return list(_of_unknown_order(snapshot))
    match snapshot.order.status:
        case OrderStatus.COMPLETED:
            found = [
                *_of_completed_documents(snapshot, snapshot.order),
                *_of_captures(snapshot, snapshot.order),
            ]
        case OrderStatus.CANCELLED:
            found = list(_of_kept_money(snapshot, ViolationCode.CAPTURED_FOR_CANCELLED_ORDER))
        case _:
            return list(_of_open_order(snapshot, snapshot.order))
    return [*found, *_of_closed_order(snapshot, snapshot.order)]


def _of_rivals(snapshot: TicketStateSnapshot) -> Iterator[Violation]:
    if len(snapshot.holding_order_ids) > 1:
        yield Violation(
            ViolationCode.SEVERAL_HOLDING_ORDERS,
            f"{len(snapshot.holding_order_ids)} orders hold the ticket at once: "
            + ", ".join(snapshot.holding_order_ids),
        )


def _of_sold_ticket(snapshot: TicketStateSnapshot) -> Iterator[Violation]:
    named = snapshot.named
    if named is None or named.status is not OrderStatus.COMPLETED:
        how = "does not exist" if named is None else f"is {named.status}"
        yield Violation(
            ViolationCode.SOLD_WITHOUT_COMPLETED_ORDER,
            f"The ticket is sold, but its order {snapshot.ticket.order_id} {how}.",
        )
    elif named.ticket_id != snapshot.ticket.id:
        yield _of_another_ticket(named)


def _of_lock(snapshot: TicketStateSnapshot) -> Iterator[Violation]:
    named = snapshot.named
    is_running = snapshot.workflow is not None and snapshot.workflow.is_running
    release = None if is_running else Repair.RELEASE_TICKET
    if named is None:
        yield Violation(
            ViolationCode.LOCK_WITHOUT_ORDER,
            f"The ticket is reserved for order {snapshot.ticket.order_id}, which does not exist.",
            release,
        )
    elif named.status is OrderStatus.CANCELLED:
        yield Violation(
            ViolationCode.LOCK_OF_CANCELLED_ORDER,
            f"The ticket is reserved for order {named.id}, which is cancelled.",
            release,
        )
    elif named.ticket_id != snapshot.ticket.id:
        yield _of_another_ticket(named)


def _of_another_ticket(named: OrderFacts) -> Violation:
    return Violation(
        ViolationCode.LOCK_OF_ANOTHER_TICKET,
        f"The ticket names order {named.id}, which is for ticket {named.ticket_id}.",
    )


def _of_open_order(snapshot: OrderStateSnapshot, order: OrderFacts) -> Iterator[Violation]:
    if snapshot.workflow is None:
        return
    if not snapshot.workflow.is_running:
        is_known = snapshot.workflow.state is WorkflowState.CLOSED
        is_over = is_known or snapshot.now > order.expires_at + UNKNOWN_WORKFLOW_GRACE
        yield Violation(
            ViolationCode.OPEN_ORDER_WITHOUT_WORKFLOW,
            f"The order is {order.status}, and its workflow is {snapshot.workflow.state}.",
            Repair.CLOSE_ORDER if is_over else None,
        )
        return
    if snapshot.ticket is None or snapshot.ticket.order_id != order.id:
        yield Violation(
            ViolationCode.OPEN_ORDER_WITHOUT_TICKET,
            f"The order is {order.status}, but ticket {order.ticket_id} is not reserved for it.",
        )
    if is_overdue(snapshot):
        yield Violation(
            ViolationCode.OVERDUE,
            f"The order is still {order.status}, although its deadline was "
            f"{order.expires_at:%Y-%m-%d %H:%M:%S} UTC.{_at_stripe(snapshot)}",
        )
    for intent in snapshot.intents or ():
        yield from _of_amount(intent, order)


def is_overdue(snapshot: OrderStateSnapshot) -> bool:
    """Whether an order is open past its deadline, for longer than a worker needs to catch up."""
    order = snapshot.order
    return (
        order is not None and not order.status.is_closed and snapshot.now > order.expires_at + GRACE
    )


def _at_stripe(snapshot: OrderStateSnapshot) -> str:
    if snapshot.intents is None:
        return ""
    intents = (f"{i.id} is {i.status}, {i.amount_received} captured" for i in snapshot.intents)
    return f" At Stripe: {'; '.join(intents) or 'no intent that a charge names'}."


def _of_amount(intent: PaymentIntent, order: OrderFacts) -> Iterator[Violation]:
    captured = (intent.amount_received, intent.currency)
    if intent.amount_received and captured != (order.price, order.currency):
        yield Violation(
            ViolationCode.CAPTURED_ANOTHER_AMOUNT,
            f"Stripe has captured {intent.amount_received} {intent.currency}, "
            f"the order is over {order.price} {order.currency} (minor units).",
            intent_id=intent.id,
        )


def _of_completed_documents(snapshot: OrderStateSnapshot, order: OrderFacts) -> Iterator[Violation]:
    ticket = snapshot.ticket
    if ticket is None or ticket.order_id != order.id or not ticket.is_sold:
        yield Violation(
            ViolationCode.COMPLETED_WITHOUT_SOLD_TICKET,
            f"The order is completed, but ticket {order.ticket_id} is not sold to it.",
        )
    completed = _completed_charges(snapshot)
    if len(completed) != 1:
        yield Violation(
            ViolationCode.COMPLETED_WITHOUT_CHARGE,
            f"The order is completed with {len(completed)} completed charges instead of one.",
        )
    for charge in completed:
        if (charge.amount, charge.currency) != (order.price, order.currency):
            yield Violation(
                ViolationCode.CHARGED_ANOTHER_AMOUNT,
                f"The charge is over {charge.amount} {charge.currency}, "
                f"the order over {order.price} {order.currency} (minor units).",
            )


def _of_captures(snapshot: OrderStateSnapshot, order: OrderFacts) -> Iterator[Violation]:
    if snapshot.intents is None:
        return
    paid_by = {charge.intent_id for charge in _completed_charges(snapshot)}
    is_refunding = snapshot.refund is not None and snapshot.refund.is_running
    captured = [intent for intent in snapshot.intents if intent.amount_received]
    is_paid = any(intent.id in paid_by for intent in captured)
    is_asked = snapshot.knows_all_intents or any(
        intent.id in paid_by for intent in snapshot.intents
    )
    if is_asked and not is_paid:
        yield Violation(
            ViolationCode.COMPLETED_WITHOUT_CAPTURE,
            "The order is completed, but Stripe has not captured what is said to have paid for it.",
        )
    for intent in captured:
        if intent.id not in paid_by:
            yield Violation(
                ViolationCode.CAPTURED_TWICE,
                f"Stripe has captured {intent.amount_received} {intent.currency} (minor units) "
                f"under {intent.id}, which is not what paid for the order.",
                intent_id=intent.id,
            )
        elif wrong := list(_of_amount(intent, order)):
            yield from wrong
        elif not intent.amount_kept and not is_refunding:
            yield Violation(
                ViolationCode.REFUND_NOT_RECORDED,
                "Stripe has given all of the money back, but the order is still completed.",
                Repair.RECORD_REFUND,
                intent.id,
            )


def _of_kept_money(snapshot: OrderStateSnapshot, code: ViolationCode) -> Iterator[Violation]:
    for intent in snapshot.intents or ():
        if intent.amount_kept:
            yield Violation(
                code,
                f"Stripe keeps {intent.amount_kept} {intent.currency} (minor units) under "
                f"{intent.id}, for an order that is not completed.",
                intent_id=intent.id,
            )


def _of_closed_order(snapshot: OrderStateSnapshot, order: OrderFacts) -> Iterator[Violation]:
    if snapshot.workflow is None or not snapshot.workflow.is_running:
        yield from _of_abandoned_intents(snapshot)
    elif order.closed_at is None or snapshot.now > order.closed_at + GRACE:
        yield Violation(
            ViolationCode.CLOSED_ORDER_WITH_WORKFLOW,
            f"The order is {order.status}, but its workflow still runs.",
        )


def _of_abandoned_intents(snapshot: OrderStateSnapshot) -> Iterator[Violation]:
    for intent in snapshot.intents or ():
        if intent.status in CANCELLABLE_STATUSES:
            yield Violation(
                ViolationCode.ABANDONED_AUTHORIZATION,
                f"{intent.id} is {intent.status} at Stripe, and nobody will ever capture it.",
                Repair.CANCEL_INTENT,
                intent.id,
            )


def _of_unknown_order(snapshot: OrderStateSnapshot) -> Iterator[Violation]:
    if snapshot.workflow is not None and snapshot.workflow.is_running:
        began = snapshot.workflow.started_at
        if began is None or snapshot.now > began + GRACE:
            yield Violation(
                ViolationCode.WORKFLOW_WITHOUT_ORDER,
                "A workflow runs for an order that does not exist.",
            )
        return
    yield from _of_kept_money(snapshot, ViolationCode.CAPTURED_FOR_UNKNOWN_ORDER)
    if snapshot.workflow is not None and snapshot.workflow.state is WorkflowState.CLOSED:
        yield from _of_abandoned_intents(snapshot)
        return
    # Neither MongoDB nor Temporal knows the order: another installation may share the account at
    # Stripe, and then its workflow is about to capture this.
    for intent in snapshot.intents or ():
        if intent.status in CANCELLABLE_STATUSES:
            yield Violation(
                ViolationCode.AUTHORIZATION_OF_UNKNOWN_ORDER,
                f"{intent.id} is {intent.status} at Stripe, for an order that nobody knows here.",
                intent_id=intent.id,
            )


def _completed_charges(snapshot: OrderStateSnapshot) -> list[ChargeFacts]:
    return [charge for charge in snapshot.charges if charge.status is ChargeStatus.COMPLETED]
