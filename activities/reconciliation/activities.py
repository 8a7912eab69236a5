"""Looking for what must not be, in pages, and looking closely at what seems to be so."""

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

from activities.reconciliation.cases import CaseReader
from activities.reconciliation.findings import FindingLog, Subject
from activities.reconciliation.repairs import Repairs
from ticketing.clock import to_milliseconds
from ticketing.invariants import (
    Anomaly,
    OrderCase,
    Repair,
    Scope,
    TicketCase,
    order_anomalies,
    ticket_anomalies,
)
from ticketing.models import Checked, Finding, FindingStatus, Order, ReconciliationRun, Ticket
from ticketing.models.ticket import RESERVED
from ticketing.mongodb import BSONDocument
from ticketing.observability.logs import concerns
from ticketing.observability.metrics import ClosedOrders
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import IntentStatus, PaymentIntent
from ticketing.statuses import UNPAID_STATUSES, OrderStatus
from ticketing.workflow_ids import order_workflow_id

LATELY = timedelta(days=2)
"""An order lasts a day at most, so this holds all that was closed during the last one."""

BEGINNING = datetime(2011, 1, 1, tzinfo=UTC)
"""Before Stripe's first customer."""

ORDER_WORKFLOW = "OrderWorkflow"

NEWEST_FIRST = [("created_at", SortDirection.DESCENDING), ("_id", SortDirection.DESCENDING)]
OLDEST_FIRST = [("_id", SortDirection.ASCENDING)]

D = TypeVar("D", Ticket, Order)


class Source(StrEnum):
    """Where suspects are looked for, one after the other."""

    TICKETS = auto()
    OPEN_ORDERS = auto()
    ORDERS = auto()
    WORKFLOWS = auto()
    INTENTS = auto()
    FINDINGS = auto()
    """What was found before and is still open: it may be gone by now."""


@dataclass(frozen=True)
class PageRequest:
    """Which page of which source to look at."""

    source: Source
    scope: Scope
    began_at: datetime
    """When the run began; what was made later is the next run's."""
    after: str | None
    """Where the page before ended; opaque."""
    limit: int


@dataclass(frozen=True)
class SuspectPage:
    """What a page gave rise to."""

    checked: int
    suspects: tuple[Subject, ...]
    next: str | None
    """Where the next page begins, or None after the last one."""


@dataclass(frozen=True)
class Examination:
    """What came of a close look: how many anomalies of each kind."""

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
    """Looking changes nothing; what is repaired may be repaired twice (`repairs.py`)."""

    def __init__(
        self,
        mongo: AsyncMongoClient[BSONDocument],
        gateway: StripeGateway,
        temporal: Client,
        meter: MetricMeter = MetricMeter.noop,
    ) -> None:
        self._temporal = temporal
        self._gateway = gateway
        self._cases = CaseReader(mongo, gateway, temporal)
        self._repairs = Repairs(mongo, gateway, ClosedOrders(meter))
        self._findings_log = FindingLog(meter)
        self._pages: Mapping[Source, Callable[[PageRequest], Coroutine[Any, Any, SuspectPage]]] = {
            Source.TICKETS: self._tickets,
            Source.OPEN_ORDERS: self._open_orders,
            Source.ORDERS: self._orders,
            Source.WORKFLOWS: self._workflows,
            Source.INTENTS: self._intents,
            Source.FINDINGS: self._findings,
        }

    @activity.defn
    async def find_suspects(self, input: PageRequest) -> SuspectPage:
        """Look at one page of tickets, orders, workflows or intents.

        Whoever is suspected here is looked at closely after a while, so what just happened
        to be in motion is nobody's fault. Safe to run twice: it only reads.
        """
        return await self._pages[input.source](input)

    @activity.defn
    async def examine(self, input: Subject) -> Examination:
        """Look closely at one ticket or order, repair what has one right repair, keep the rest.

        Safe to run twice: the facts are gathered anew, each repair is harmless when it was made
        before, and a finding that is seen again is the same finding.
        """
        if input.kind == "order":
            concerns(input.id)  # in this activity's own task: nobody needs it put back
        found = await (self._ticket(input) if input.kind == "ticket" else self._order(input))
        await self._findings_log.keep(input, found)
        repaired = sum(found.values())
        return Examination(reported=len(found) - repaired, repaired=repaired)

    @activity.defn
    async def record_run(self, input: RunRecord) -> None:
        """Keep how far a run has come. Safe to run twice: it is one document."""
        run = ReconciliationRun(
            _id=input.run_id,
            scope=input.scope,
            started_at=to_milliseconds(input.started_at),
            finished_at=input.finished_at and to_milliseconds(input.finished_at),
            checked=Checked(
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
            # First: whoever sees that the run is through may look at the metric.
            await self._findings_log.measure_open()
        await run.save()

    async def _tickets(self, input: PageRequest) -> SuspectPage:
        where = RESERVED if input.scope is Scope.RECENT else {}
        tickets, following = await _documents(Ticket, where, input)
        cases = await self._cases.ticket_cases(t.id for t in tickets if t.id)
        return SuspectPage(len(tickets), _suspected_tickets(cases), following)

    async def _open_orders(self, input: PageRequest) -> SuspectPage:
        where = {"status": {"$in": [str(status) for status in UNPAID_STATUSES]}}
        orders, following = await _documents(Order, where, input)
        cases = await self._cases.order_cases(order.id for order in orders if order.id)
        cases = await self._cases.with_workflows(cases)
        return SuspectPage(len(orders), _suspected_orders(cases), following)

    async def _orders(self, input: PageRequest) -> SuspectPage:
        orders, following = await _documents(Order, _since(input), input)
        cases = await self._cases.order_cases(order.id for order in orders if order.id)
        if input.scope is Scope.FULL:
            completed = [c for c in cases if c.order and c.order.status is OrderStatus.COMPLETED]
            cases = await self._cases.with_their_intents(completed)
        return SuspectPage(len(orders), _suspected_orders(cases), following)

    async def _workflows(self, input: PageRequest) -> SuspectPage:
        """Running workflows whose order is not open; visibility may lag, a close look does not."""
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
        cases = await self._cases.order_cases(map(PydanticObjectId, ids))
        open_ids = {c.order_id for c in cases if c.order and c.order.status in UNPAID_STATUSES}
        suspects = tuple(Subject("order", id) for id in ids if id not in open_ids)
        token = running.next_page_token
        return SuspectPage(len(found), suspects, token.hex() if token else None)

    async def _intents(self, input: PageRequest) -> SuspectPage:
        since = BEGINNING if input.scope is Scope.FULL else input.began_at - LATELY
        page = await self._gateway.list_page(
            since=since, until=input.began_at, after=input.after, limit=input.limit
        )
        by_order: defaultdict[str, tuple[PaymentIntent, ...]] = defaultdict(tuple)
        for intent in page:
            if intent.order_id is not None and PydanticObjectId.is_valid(intent.order_id):
                by_order[intent.order_id] += (intent,)
        cases = [
            replace(case, intents=by_order[case.order_id])
            for case in await self._cases.order_cases(map(PydanticObjectId, by_order))
        ]
        following = page[-1].id if len(page) == input.limit else None
        return SuspectPage(len(page), _suspected_orders(cases), following)

    async def _findings(self, input: PageRequest) -> SuspectPage:
        where: dict[str, Any] = {"status": FindingStatus.OPEN}
        if input.after is not None:
            where["_id"] = {"$gt": PydanticObjectId(input.after)}
        found = await Finding.find(where, sort=OLDEST_FIRST, limit=input.limit).to_list()
        following = str(found[-1].id) if len(found) == input.limit else None
        return SuspectPage(len(found), tuple(map(_subject_of, found)), following)

    async def _ticket(self, subject: Subject) -> dict[Anomaly, bool]:
        case = await self._cases.ticket_case(subject.id)
        if case is None:
            return {}
        found = {}
        for anomaly in ticket_anomalies(case):
            release = anomaly.repair is Repair.RELEASE_TICKET
            found[anomaly] = release and await self._repairs.release(case.ticket)
        return found

    async def _order(self, subject: Subject) -> dict[Anomaly, bool]:
        case = await self._cases.order_case(subject.id, subject.intent_ids)
        return {anomaly: await self._repair(case, anomaly) for anomaly in order_anomalies(case)}

    async def _repair(self, case: OrderCase, anomaly: Anomaly) -> bool:
        if anomaly.repair is Repair.CLOSE_ORDER:
            return await self._repairs.close_order(case)
        if anomaly.intent_id is None:
            return False
        if anomaly.repair is Repair.CANCEL_INTENT:
            intent = await self._repairs.cancel_intent(anomaly.intent_id)
            return intent.status is IntentStatus.CANCELED
        if anomaly.repair is Repair.RECORD_REFUND:
            return await self._record_refund(case.order_id, anomaly)
        return False

    async def _record_refund(self, order_id: str, anomaly: Anomaly) -> bool:
        # Its seller may have asked for it after Temporal was asked and before Stripe was. Now
        # that the money has gone, whoever sent it is seen running, or has recorded it.
        case = await self._cases.order_case(order_id, ())
        if case.order is None or anomaly.intent_id is None or anomaly not in order_anomalies(case):
            return False
        return await self._repairs.record_refund(case.order, anomaly.intent_id)


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
    return {"created_at": {"$gte": request.began_at - LATELY}}


def _suspected_tickets(cases: Iterable[TicketCase]) -> tuple[Subject, ...]:
    suspects = []
    for case in cases:
        if ticket_anomalies(case):
            suspects.append(Subject("ticket", case.ticket.id))
        if case.named and case.named.status is OrderStatus.COMPLETED and not case.ticket.is_sold:
            suspects.append(Subject("order", case.named.id))
    return tuple(suspects)


def _suspected_orders(cases: Iterable[OrderCase]) -> tuple[Subject, ...]:
    return tuple(
        Subject("order", case.order_id, tuple(intent.id for intent in case.intents or ()))
        for case in cases
        if order_anomalies(case)
    )


def _subject_of(finding: Finding) -> Subject:
    kind, _, id = finding.subject.partition(":")
    return Subject(kind, id, (finding.intent_id,) if finding.intent_id else ())
