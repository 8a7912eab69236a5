"""Scan for invariant violations, page by page, and examine the candidates one by one."""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from typing import Any, TypeVar

from beanie import PydanticObjectId, SortDirection
from pymongo import AsyncMongoClient
from temporalio import activity
from temporalio.client import Client
from temporalio.common import MetricMeter

from activities.reconciliation.repairs import Repairs
from activities.reconciliation.snapshots import SnapshotReader
from activities.reconciliation.violations import Candidate, ViolationLog
from ticketing.clock import to_milliseconds
from ticketing.invariants import (
    OrderStateSnapshot,
    Repair,
    Scope,
    TicketStateSnapshot,
    Violation,
    order_violations,
    ticket_violations,
)
from ticketing.models import (
    CheckedCounts,
    Order,
    ReconciliationRun,
    Ticket,
    ViolationRecord,
    ViolationStatus,
)
from ticketing.models.ticket import RESERVED
from ticketing.mongodb import BSONDocument
from ticketing.observability.logs import bind_order_id
from ticketing.observability.metrics import OrderMetrics
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import IntentStatus, PaymentIntent
from ticketing.statuses import UNPAID_STATUSES, OrderStatus
from ticketing.workflow_ids import order_workflow_id

RECENT_WINDOW = timedelta(days=2)
"""Which orders a scan of recent ones covers.

An order lasts a day at most, so these include every one that was closed during the last day.
"""

STRIPE_EPOCH = datetime(2011, 1, 1, tzinfo=UTC)
"""Before Stripe's first payment."""

ORDER_WORKFLOW = "OrderWorkflow"

NEWEST_FIRST = [("created_at", SortDirection.DESCENDING), ("_id", SortDirection.DESCENDING)]
OLDEST_FIRST = [("_id", SortDirection.ASCENDING)]

D = TypeVar("D", Ticket, Order)


class Source(StrEnum):
    """What is scanned for candidates, one source after the other."""

    TICKETS = auto()
    OPEN_ORDERS = auto()
    ORDERS = auto()
    WORKFLOWS = auto()
    INTENTS = auto()
    VIOLATIONS = auto()
    """The recorded violations that are open: they may be gone by now."""


@dataclass(frozen=True)
class PageRequest:
    """Which page of which source to scan."""

    source: Source
    scope: Scope
    began_at: datetime
    """When the run began; what was created later is left to the next run."""
    after: str | None
    """The cursor that the previous page returned; opaque."""
    limit: int


@dataclass(frozen=True)
class CandidatePage:
    """What a page was found to contain."""

    checked: int
    candidates: tuple[Candidate, ...]
    next: str | None
    """The cursor of the next page, or None after the last one."""


@dataclass(frozen=True)
class ViolationCounts:
    """How many violations of a candidate were left to an operator, and how many repaired."""

    reported: int = 0
    repaired: int = 0


@dataclass(frozen=True)
class RunRecord:
    """How far a run has come."""

    run_id: str
    scope: Scope
    started_at: datetime
    finished_at: datetime | None = None
    tickets: int = 0
    orders: int = 0
    workflows: int = 0
    intents: int = 0
    reported: int = 0
    repaired: int = 0
    unexamined: int = 0


class ReconciliationActivities:
    """Scanning changes nothing; every repair may run twice (`repairs.py`)."""

    def __init__(
        self,
        mongo: AsyncMongoClient[BSONDocument],
        gateway: StripeGateway,
        temporal: Client,
        meter: MetricMeter = MetricMeter.noop,
    ) -> None:
        self._temporal = temporal
        self._gateway = gateway
        self._snapshots = SnapshotReader(mongo, gateway, temporal)
        self._repairs = Repairs(mongo, gateway, OrderMetrics(meter))
        self._violation_log = ViolationLog(meter)
        self._pages: Mapping[
            Source, Callable[[PageRequest], Coroutine[Any, Any, CandidatePage]]
        ] = {
            Source.TICKETS: self._tickets,
            Source.OPEN_ORDERS: self._open_orders,
            Source.ORDERS: self._orders,
            Source.WORKFLOWS: self._workflows,
            Source.INTENTS: self._intents,
            Source.VIOLATIONS: self._open_violations,
        }

    @activity.defn
    async def find_candidates(self, input: PageRequest) -> CandidatePage:
        """Scan one page of a source for what seems to violate an invariant.

        A candidate is examined only after a pause, so one that was merely changing is not
        reported. Safe to run twice: it only reads.
        """
        return await self._pages[input.source](input)

    @activity.defn
    async def examine_candidate(self, input: Candidate) -> ViolationCounts:
        """Check one ticket or order, repair what has exactly one repair, record the rest.

        Safe to run twice: a new snapshot is taken, every repair may run twice, and a violation
        that is seen again updates its record.
        """
        if input.kind == "order":
            bind_order_id(input.id)  # in this activity's own task: nobody needs it put back
        found = await (self._ticket(input) if input.kind == "ticket" else self._order(input))
        await self._violation_log.keep(input, found)
        repaired = sum(found.values())
        return ViolationCounts(reported=len(found) - repaired, repaired=repaired)

    @activity.defn
    async def record_run(self, input: RunRecord) -> None:
        """Store the progress of a run. Safe to run twice: it is one document."""
        run = ReconciliationRun(
            _id=input.run_id,
            scope=input.scope,
            started_at=to_milliseconds(input.started_at),
            finished_at=input.finished_at and to_milliseconds(input.finished_at),
            checked=CheckedCounts(
                tickets=input.tickets,
                orders=input.orders,
                workflows=input.workflows,
                intents=input.intents,
            ),
            reported=input.reported,
            repaired=input.repaired,
            unexamined=input.unexamined,
        )
        if run.finished_at is not None:
            # First: a reader who sees that the run has finished may read the metric.
            await self._violation_log.measure_open()
        await run.save()

    async def _tickets(self, input: PageRequest) -> CandidatePage:
        where = RESERVED if input.scope is Scope.RECENT else {}
        tickets, following = await _documents(Ticket, where, input)
        snapshots = await self._snapshots.ticket_snapshots(t.id for t in tickets if t.id)
        return CandidatePage(len(tickets), _ticket_candidates(snapshots), following)

    async def _open_orders(self, input: PageRequest) -> CandidatePage:
        where = {"status": {"$in": [str(status) for status in UNPAID_STATUSES]}}
        orders, following = await _documents(Order, where, input)
        snapshots = await self._snapshots.order_snapshots(order.id for order in orders if order.id)
        snapshots = await self._snapshots.with_workflows(snapshots)
        return CandidatePage(len(orders), _order_candidates(snapshots), following)

    async def _orders(self, input: PageRequest) -> CandidatePage:
        orders, following = await _documents(Order, _since(input), input)
        snapshots = await self._snapshots.order_snapshots(order.id for order in orders if order.id)
        if input.scope is Scope.FULL:
            completed = [
                c for c in snapshots if c.order and c.order.status is OrderStatus.COMPLETED
            ]
            snapshots = await self._snapshots.with_their_intents(completed)
        return CandidatePage(len(orders), _order_candidates(snapshots), following)

    async def _workflows(self, input: PageRequest) -> CandidatePage:
        """Running workflows whose order is not open, by visibility, which may lag behind."""
        queue = activity.info().task_queue
        running = self._temporal.list_workflows(
            f"WorkflowType = '{ORDER_WORKFLOW}' AND ExecutionStatus = 'Running'"
            f" AND TaskQueue = '{queue}'",
            page_size=input.limit,
            next_page_token=bytes.fromhex(input.after) if input.after else None,
        )
        await running.fetch_next_page()
        prefix = order_workflow_id("")
        found = [workflow.id.removeprefix(prefix) for workflow in running.current_page or ()]
        ids = list(filter(PydanticObjectId.is_valid, found))
        snapshots = await self._snapshots.order_snapshots(map(PydanticObjectId, ids))
        open_ids = {c.order_id for c in snapshots if c.order and c.order.status in UNPAID_STATUSES}
        candidates = tuple(Candidate("order", id) for id in ids if id not in open_ids)
        token = running.next_page_token
        return CandidatePage(len(found), candidates, token.hex() if token else None)

    async def _intents(self, input: PageRequest) -> CandidatePage:
        since = STRIPE_EPOCH if input.scope is Scope.FULL else input.began_at - RECENT_WINDOW
        page = await self._gateway.list_intents(
            since=since, until=input.began_at, after=input.after, limit=input.limit
        )
        by_order: defaultdict[str, tuple[PaymentIntent, ...]] = defaultdict(tuple)
        for intent in page:
            if intent.order_id is not None and PydanticObjectId.is_valid(intent.order_id):
                by_order[intent.order_id] += (intent,)
        snapshots = [
            replace(snapshot, intents=by_order[snapshot.order_id])
            for snapshot in await self._snapshots.order_snapshots(map(PydanticObjectId, by_order))
        ]
        following = page[-1].id if len(page) == input.limit else None
        return CandidatePage(len(page), _order_candidates(snapshots), following)

    async def _open_violations(self, input: PageRequest) -> CandidatePage:
        where: dict[str, Any] = {"status": ViolationStatus.OPEN}
        if input.after is not None:
            where["_id"] = {"$gt": PydanticObjectId(input.after)}
        found = await ViolationRecord.find(where, sort=OLDEST_FIRST, limit=input.limit).to_list()
        following = str(found[-1].id) if len(found) == input.limit else None
        return CandidatePage(len(found), tuple(map(_candidate_of, found)), following)

    async def _ticket(self, candidate: Candidate) -> dict[Violation, bool]:
        snapshot = await self._snapshots.ticket_snapshot(candidate.id)
        if snapshot is None:
            return {}
        found = {}
        for violation in ticket_violations(snapshot):
            release = violation.repair is Repair.RELEASE_TICKET
            found[violation] = release and await self._repairs.release(snapshot.ticket)
        return found

    async def _order(self, candidate: Candidate) -> dict[Violation, bool]:
        snapshot = await self._snapshots.order_snapshot(candidate.id, candidate.intent_ids)
        return {
            violation: await self._repair(snapshot, violation)
            for violation in order_violations(snapshot)
        }

    async def _repair(self, snapshot: OrderStateSnapshot, violation: Violation) -> bool:
        if violation.repair is Repair.CLOSE_ORDER:
            return await self._repairs.close_order(snapshot)
        if violation.intent_id is None:
            return False
        if violation.repair is Repair.CANCEL_INTENT:
            intent = await self._repairs.cancel_intent(violation.intent_id)
            return intent.status is IntentStatus.CANCELED
        if violation.repair is Repair.RECORD_REFUND:
            return await self._record_refund(snapshot.order_id, violation)
        return False

    async def _record_refund(self, order_id: str, violation: Violation) -> bool:
        # The seller may have requested it after the snapshot read Temporal and before it read
        # Stripe. Now that the money has gone, a new snapshot shows that refund's workflow
        # running, or the refund recorded.
        snapshot = await self._snapshots.order_snapshot(order_id, ())
        if (
            snapshot.order is None
            or violation.intent_id is None
            or violation not in order_violations(snapshot)
        ):
            return False
        return await self._repairs.record_refund(snapshot.order, violation.intent_id)


async def _documents(
    model: type[D], where: Mapping[str, Any], request: PageRequest
) -> tuple[list[D], str | None]:
    """A page of documents, newest first, and where the next one begins."""
    conditions: list[Mapping[str, Any]] = [where]
    if request.after is not None:
        created_at, _, id = request.after.partition("/")
        at, last = datetime.fromisoformat(created_at), PydanticObjectId(id)
        behind = [{"created_at": {"$lt": at}}, {"_id": {"$lt": last}}]
        conditions.append({"created_at": {"$lte": at}, "$or": behind})
    query = model.find({"$and": conditions}, sort=NEWEST_FIRST, limit=request.limit)
    found = await query.to_list()
    if len(found) < request.limit:
        return found, None
    return found, f"{found[-1].created_at.isoformat()}/{found[-1].id}"


def _since(request: PageRequest) -> dict[str, Any]:
    if request.scope is Scope.FULL:
        return {}
    return {"created_at": {"$gte": request.began_at - RECENT_WINDOW}}


def _ticket_candidates(snapshots: Iterable[TicketStateSnapshot]) -> tuple[Candidate, ...]:
    candidates = []
    for snapshot in snapshots:
        if ticket_violations(snapshot):
            candidates.append(Candidate("ticket", snapshot.ticket.id))
        if (
            snapshot.named
            and snapshot.named.status is OrderStatus.COMPLETED
            and not snapshot.ticket.is_sold
        ):
            candidates.append(Candidate("order", snapshot.named.id))
    return tuple(candidates)


def _order_candidates(snapshots: Iterable[OrderStateSnapshot]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate("order", snapshot.order_id, tuple(intent.id for intent in snapshot.intents or ()))
        for snapshot in snapshots
        if order_violations(snapshot)
    )


def _candidate_of(violation: ViolationRecord) -> Candidate:
    kind, _, id = violation.candidate.partition(":")
    return Candidate(kind, id, (violation.intent_id,) if violation.intent_id else ())
