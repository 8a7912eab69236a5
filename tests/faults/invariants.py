"""I1 to I8, looked at from outside once nothing moves any more.

Reads what MongoDB, Temporal and the sandbox hold as they hold it, with none of the code under
test in between.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.faults.breaking import Disturbance
from tests.faults.pace import Pace
from tests.faults.plan import Act
from tests.faults.promises import Promises

Document = dict[str, Any]

OPEN = ("created", "awaiting_payment")
HOLDING = (*OPEN, "completed")
DELAYING = frozenset({Act.TERMINATE, Act.RESET, Act.TERMINATE_AND_RESET})

RECOVERY_SECONDS = 25.0
"""After a part is back: the longest pause between two tries of a step, and the step itself."""
PUNCTUALITY_SECONDS = 5.0
"""How late a reservation may end on a machine on which nothing was ever broken."""
CALM_FACTOR = 2.0
UNMEASURED_SECONDS = 3.0
"""A reservation may end so many times later than the latest one did when all was calm, and so
much later still: few of them are measured, and load that comes and goes within a probe is not.

All of these in machine time.
"""


@dataclass
class Evidence:
    """Everything that the three servers hold at the end of a run."""

    tickets: dict[str, Document]
    orders: dict[str, Document]
    charges: list[Document]
    users: set[str]
    running: set[str]
    """Ids of workflows."""
    known: set[str]
    """Ids of workflows, running or closed."""
    intents: list[Document]
    """The sandbox's ledger: what was captured and refunded for each intent."""
    findings: list[Document] = field(default_factory=list)
    """What reconciliation said, which ran all the while."""
    disturbances: Sequence[Disturbance] = ()
    calm: Set[str] = frozenset()
    """Ids of orders that were left to expire before anything was broken."""
    pace: Pace = field(default_factory=Pace)
    acted_on: Mapping[str, Set[Act]] = field(default_factory=dict)
    """What operators did, or tried to do, by the id of the order."""


def violations(evidence: Evidence, promises: Promises) -> list[str]:
    """Everything that should not be, in words that name the document concerned."""
    checks = (i1, i2, i3, i4, i5, i6, i7, unexcused_findings)
    found = [said for check in checks for said in check(evidence)]
    return found + list(i8(evidence, promises))


def i1(evidence: Evidence) -> Iterator[str]:
    """A ticket has at most one order that holds it."""
    holders = defaultdict(list)
    for id, order in evidence.orders.items():
        if order["status"] in HOLDING:
            holders[str(order["ticket_id"])].append(id)
    for ticket, ids in holders.items():
        if len(ids) > 1:
            yield f"I1: ticket {ticket} is held by the orders {', '.join(ids)}"


def i2(evidence: Evidence) -> Iterator[str]:
    """A ticket is sold if and only if its order is completed."""
    for id, ticket in evidence.tickets.items():
        order = evidence.orders.get(str(ticket["order_id"]))
        is_completed = order is not None and order["status"] == "completed"
        if (ticket["sold_at"] is not None) != is_completed:
            yield f"I2: ticket {id} was sold at {ticket['sold_at']}, its order is {_status(order)}"
    for id, order in evidence.orders.items():
        if order["status"] == "completed":
            bought = evidence.tickets.get(str(order["ticket_id"]))
            if bought is None or str(bought["order_id"]) != id:
                yield f"I2: order {id} is completed, and its ticket is not its own"


def i3(evidence: Evidence) -> Iterator[str]:
    """What a ticket names is an order of that ticket which holds it, and the other way round."""
    for id, ticket in evidence.tickets.items():
        if ticket["order_id"] is None:
            continue
        order = evidence.orders.get(str(ticket["order_id"]))
        if order is None or order["status"] not in HOLDING or str(order["ticket_id"]) != id:
            yield f"I3: ticket {id} names order {ticket['order_id']}, which is {_status(order)}"
    for id, order in evidence.orders.items():
        ticket = evidence.tickets.get(str(order["ticket_id"]), {})
        if order["status"] in OPEN and str(ticket.get("order_id")) != id:
            yield f"I3: order {id} is {order['status']} and does not hold its ticket"


def i4(evidence: Evidence) -> Iterator[str]:
    """A completed order was paid once, exactly its price, and Stripe captured exactly that.

    Nor was any other price ever asked for, whatever became of it.
    """
    for id, order in evidence.orders.items():
        charges = [c for c in evidence.charges if str(c["order_id"]) == id]
        paid = [(c["amount"], c["currency"]) for c in charges if c["status"] == "completed"]
        price = (order["ticket"]["price"], order["ticket"]["currency"])
        was_paid = order["status"] == "completed" or order.get("cancel_reason") == "refunded"
        if paid != ([price] if was_paid else []):
            yield f"I4: order {id} is {_status(order)} at {price} and has the payments {paid}"
        captured = [(i["captured"], i["currency"]) for i in _intents(evidence, id) if i["captured"]]
        if was_paid and captured != [price]:
            yield f"I4: order {id} is {_status(order)} at {price}, Stripe captured {captured}"
        asked = {(i["amount"], i["currency"]) for i in _intents(evidence, id)}
        asked |= {(charge["amount"], charge["currency"]) for charge in charges}
        if asked - {price}:
            yield f"I4: order {id} is {_status(order)} at {price}, and was to be paid with {asked}"


def i5(evidence: Evidence) -> Iterator[str]:
    """A cancelled order holds nobody's money, and nothing can be paid for it any more."""
    for id, order in evidence.orders.items():
        kept = sum(i["captured"] - i["refunded"] for i in _intents(evidence, id))
        if order["status"] == "cancelled" and kept:
            yield f"I5: order {id} is {_status(order)}, and Stripe keeps {kept} for it"
        refunded = sum(i["refunded"] for i in _intents(evidence, id))
        if order["status"] == "completed" and refunded:
            yield f"I5: order {id} is completed, and {refunded} of it was refunded"
    for intent in evidence.intents:
        owner = evidence.orders.get(intent["metadata"].get("order_id", ""))
        is_final = intent["status"] in ("succeeded", "canceled")
        if not is_final and (owner is None or owner["status"] not in OPEN):
            yield f"I5: intent {intent['id']} is {intent['status']}; its order is {_status(owner)}"
        if intent["captured"] and owner is None:
            yield f"I5: intent {intent['id']} was captured for no order"


def i6(evidence: Evidence) -> Iterator[str]:
    """An order has a running workflow until it is closed, and none afterwards."""
    for id, order in evidence.orders.items():
        if (f"order:{id}" in evidence.running) != (order["status"] in OPEN):
            yield f"I6: order {id} is {_status(order)}, its workflow runs or not against that"
        if f"order:{id}" not in evidence.known:
            yield f"I6: order {id} never had a workflow"
    for id in evidence.running:
        if id.startswith("order:") and id.removeprefix("order:") not in evidence.orders:
            yield f"I6: workflow {id} runs for no order"


def i7(evidence: Evidence) -> Iterator[str]:
    """A reservation ends in time, except while something was broken and a little after."""
    calm = calm_lateness(evidence)
    if calm > PUNCTUALITY_SECONDS:
        yield f"I7: an order expired {calm:.1f} s late in machine time before anything was broken"
    explained = CALM_FACTOR * calm + UNMEASURED_SECONDS
    for id, order in evidence.orders.items():
        if order["status"] in OPEN:
            yield f"I7: order {id} is still {order['status']}"
        elif _expired_unpaid(evidence, id) and not _was_delayed_by_operator(evidence, id):
            due, ended = _lifetime_end(order)
            late = _undisturbed(evidence, due, ended)
            if late > explained:
                yield (
                    f"I7: order {id} expired {ended - due:.1f} s late, {late:.1f} s of it in "
                    f"machine time while nothing was broken; {explained:.1f} s are explained, "
                    f"with {calm:.1f} s when all was calm"
                )


def calm_lateness(evidence: Evidence) -> float:
    """How late, in machine time, the latest order expired before anything was broken."""
    ends = [
        _lifetime_end(evidence.orders[id])
        for id in evidence.calm & evidence.orders.keys()
        if _expired_unpaid(evidence, id)
    ]
    return max([0.0, *(evidence.pace.seconds(due, ended) for due, ended in ends)])


def unexcused_findings(evidence: Evidence) -> Iterator[str]:
    """Reconciliation has found nothing but what an operator did, and that is put right."""
    tickets = {
        str(order["ticket_id"]) for id, order in evidence.orders.items() if id in evidence.acted_on
    }
    for finding in evidence.findings:
        is_of_operator = (
            str(finding.get("order_id")) in evidence.acted_on
            or str(finding.get("ticket_id")) in tickets
        )
        if finding["status"] == "open" or not is_of_operator:
            yield f"reconciliation said ({finding['status']}): {finding['detail']}"


def i8(evidence: Evidence, promises: Promises) -> Iterator[str]:
    """Whatever was acknowledged stands."""
    for user in promises.users - evidence.users:
        yield f"I8: user {user} was signed up and is gone"
    yield from _i8_of_tickets(evidence, promises)
    for id, reserved in promises.reserved.items():
        order = evidence.orders.get(id, {"ticket": {}})
        told = (reserved.ticket_id, reserved.buyer_id, reserved.price)
        found = (
            str(order.get("ticket_id")),
            str(order.get("user_id")),
            order["ticket"].get("price"),
        )
        if told != found:
            yield f"I8: order {id} was answered as {told} and is {found}"
        if reserved.named not in (None, reserved.price):
            yield f"I8: order {id} was answered as {told}, and its buyer named {reserved.named}"
        if order.get("cancel_reason") == "cancelled_by_operator" and id not in evidence.acted_on:
            yield f"I8: order {id} was cancelled by an operator who did nothing to it"
    for id, answer, is_so in _acknowledged(evidence, promises):
        if not is_so:
            status = _status(evidence.orders.get(id))
            yield f"I8: order {id} was answered as {answer} and is {status}"


def untold_orders(evidence: Evidence, promises: Promises) -> list[str]:
    """Orders whose buyer was never told of them, where the promises are everybody's."""
    return [
        f"I8: order {id} is {_status(order)}, and its buyer was never told of it"
        for id, order in evidence.orders.items()
        if id not in promises.reserved and not _was_abandoned(order)
    ]


def _i8_of_tickets(evidence: Evidence, promises: Promises) -> Iterator[str]:
    for id in promises.withdrawn & evidence.tickets.keys():
        yield f"I8: ticket {id} was withdrawn and is there again"
    # What its seller asked to withdraw may be gone, even if the answer was lost.
    reserved = {r.ticket_id: r.id for r in promises.reserved.values()}
    for listed in promises.listed:
        order = evidence.orders.get(reserved.get(listed.id, ""), {})
        was_refunded = order.get("cancel_reason") == "refunded"
        is_missed = listed.id in reserved and listed.id not in promises.asked_to_withdraw
        if is_missed and not was_refunded and listed.id not in evidence.tickets:
            yield f"I8: ticket {listed.id} was listed, reserved, and is gone"


def _acknowledged(evidence: Evidence, promises: Promises) -> Iterator[tuple[str, str, bool]]:
    """Each order that was answered as something, and whether it is so."""
    for id in promises.paid:
        stays_paid = _status(evidence.orders.get(id)) == "completed"
        yield id, "paid", stays_paid or id in promises.asked_to_refund
    for id in promises.declined:
        charges = [charge for charge in evidence.charges if str(charge["order_id"]) == id]
        yield id, "declined", any(charge["status"] == "failed" for charge in charges)
    for id in promises.cancelled:
        status = _status(evidence.orders.get(id))
        yield id, "cancelled", status.startswith("cancelled")
    for id in promises.refunded:
        yield id, "refunded", _status(evidence.orders.get(id)) == "cancelled refunded"


def _intents(evidence: Evidence, order_id: str) -> list[Document]:
    return [i for i in evidence.intents if i["metadata"].get("order_id") == order_id]


def _expired_unpaid(evidence: Evidence, order_id: str) -> bool:
    has_charge = any(str(charge["order_id"]) == order_id for charge in evidence.charges)
    return evidence.orders[order_id].get("cancel_reason") == "expired" and not has_charge


def _was_abandoned(order: Document) -> bool:
    """Whether it was given up before anybody could be told of it."""
    is_expired = order.get("cancel_reason") == "expired"
    return is_expired and bool(order["cancelled_at"] < order["expires_at"])


def _was_delayed_by_operator(evidence: Evidence, order_id: str) -> bool:
    """Whether the order had no workflow for a while, or one that began anew."""
    return not DELAYING.isdisjoint(evidence.acted_on.get(order_id, ()))


def _lifetime_end(order: Document) -> tuple[float, float]:
    """When an order had to expire, and when it did."""
    due: datetime = order["expires_at"]
    ended: datetime = order["cancelled_at"]
    return due.timestamp(), ended.timestamp()


def _undisturbed(evidence: Evidence, begin: float, end: float) -> float:
    """Machine time between the two in which nothing was broken, or had just been mended."""
    undisturbed, reached = 0.0, begin
    for disturbance in sorted(evidence.disturbances, key=lambda d: d.began_at):
        if disturbance.began_at > reached:
            undisturbed += evidence.pace.seconds(reached, min(end, disturbance.began_at))
        recovered_at = evidence.pace.after(disturbance.ended_at, RECOVERY_SECONDS)
        reached = max(reached, recovered_at)
        if reached >= end:
            return undisturbed
    return undisturbed + evidence.pace.seconds(reached, end)


def _status(order: Document | None) -> str:
    if order is None:
        return "not there"
    return " ".join(str(order[key]) for key in ("status", "cancel_reason") if order.get(key))
