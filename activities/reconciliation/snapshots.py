"""Snapshots of a ticket or an order: the facts from MongoDB, Temporal and Stripe."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from ticketing.clock import utc_now
from ticketing.invariants import (
    ChargeFacts,
    OrderFacts,
    OrderStateSnapshot,
    TicketFacts,
    TicketStateSnapshot,
    WorkflowFacts,
    WorkflowState,
    is_overdue,
    order_violations,
)
from ticketing.models import Charge, Order, Ticket
from ticketing.mongodb import BSONDocument, in_transaction
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import PaymentIntent, PaymentOutcomeUnknown, PaymentRefused
from ticketing.statuses import HOLDING_STATUSES
from ticketing.workflow_ids import order_workflow_id, refund_workflow_id

LATE_INTENT_WINDOW = timedelta(hours=1)
"""How long after an order was closed a delayed request may still create an intent for it."""

STRIPE_PAGE = 100
CONCURRENCY = 10
"""How many requests are sent to Temporal or Stripe at a time."""

A = TypeVar("A")
T = TypeVar("T")


class StillChanging(Exception):
    """The facts changed while the snapshot was taken; the activity is retried."""


@dataclass(frozen=True)
class OrderDocuments:
    """The documents of one order at one instant."""

    order: OrderFacts | None
    ticket: TicketFacts | None
    charges: tuple[ChargeFacts, ...]


class SnapshotReader:
    """Reads only, and caches nothing."""

    def __init__(
        self, mongo: AsyncMongoClient[BSONDocument], gateway: StripeGateway, temporal: Client
    ) -> None:
        self._mongo = mongo
        self._gateway = gateway
        self._temporal = temporal

    async def ticket_snapshot(self, ticket_id: str) -> TicketStateSnapshot | None:
        """Everything about a ticket's lock, or None if there is no such ticket.

        Raises:
            StillChanging: it changed meanwhile.
        """
        before = await self.ticket_snapshots([PydanticObjectId(ticket_id)])
        if not before:
            return None
        (snapshot,) = before
        holder = snapshot.ticket.order_id
        workflow = await self.workflow(order_workflow_id(holder)) if holder else None
        if await self.ticket_snapshots([PydanticObjectId(ticket_id)]) != before:
            raise StillChanging(f"ticket {ticket_id}")
        return replace(snapshot, workflow=workflow)

    async def ticket_snapshots(self, ids: Iterable[PydanticObjectId]) -> list[TicketStateSnapshot]:
        """The tickets and what depends on them, at one instant; without their workflows."""
        wanted = list(ids)

        async def read(session: AsyncClientSession) -> list[TicketStateSnapshot]:
            tickets = await Ticket.find({"_id": {"$in": wanted}}, session=session).to_list()
            named_ids = [ticket.order_id for ticket in tickets if ticket.order_id]
            holding = {"ticket_id": {"$in": wanted}, "status": {"$in": list(HOLDING_STATUSES)}}
            orders = await Order.find(
                {"$or": [{"_id": {"$in": named_ids}}, holding]}, session=session
            ).to_list()
            return [_ticket_snapshot(ticket, orders) for ticket in tickets]

        return await self._at_one_instant(read)

    async def order_snapshot(self, order_id: str, intent_ids: Iterable[str]) -> OrderStateSnapshot:
        """Everything about an order.

        The documents are read before and after Temporal is asked. If they did not change, they
        and Temporal's answer were true at the same time, since an order is closed before its
        workflow is. Stripe is asked last, and only where no running workflow may ask it for more:
        first about the intents whose ids are known, and, if that shows a violation, about every
        intent created in the order's time, whatever its order, which may be many. An overdue
        workflow may wait for Stripe in vain, so its intents are read, too.

        Raises:
            StillChanging: it changed meanwhile.
        """
        before = await self.documents(order_id)
        workflow = await self.workflow(order_workflow_id(order_id))
        refund = await self.workflow(refund_workflow_id(order_id))
        if await self.documents(order_id) != before:
            raise StillChanging(f"order {order_id}")
        snapshot = _order_snapshot(order_id, before, workflow=workflow, refund=refund)
        if workflow.is_running:
            return await self._with_intents_if_overdue(snapshot)
        named = {charge.intent_id for charge in before.charges if charge.intent_id}
        found = await self._audit(named | set(intent_ids))
        snapshot = replace(snapshot, intents=_intents_of(order_id, found))
        if before.order is None or not order_violations(replace(snapshot, knows_all_intents=True)):
            return snapshot
        # A charge may not name its intent yet: Stripe's answer was on its way.
        unnamed = await self._find_unnamed_intents(before.order, workflow)
        intents = _intents_of(order_id, (*found, *unnamed))
        return replace(snapshot, intents=intents, knows_all_intents=True)

    async def order_snapshots(self, ids: Iterable[PydanticObjectId]) -> list[OrderStateSnapshot]:
        """Snapshots of many orders from their documents alone, without Temporal and Stripe."""
        documents = await self._documents(ids)
        return [_order_snapshot(order_id, found) for order_id, found in documents.items()]

    async def with_workflows(
        self, snapshots: Iterable[OrderStateSnapshot]
    ) -> list[OrderStateSnapshot]:
        """The same snapshots with the state of each order's workflow."""

        async def ask(snapshot: OrderStateSnapshot) -> OrderStateSnapshot:
            workflow = await self.workflow(order_workflow_id(snapshot.order_id))
            return replace(snapshot, workflow=workflow)

        return await _gather_limited(ask, snapshots)

    async def with_their_intents(
        self, snapshots: Iterable[OrderStateSnapshot]
    ) -> list[OrderStateSnapshot]:
        """The same snapshots with the intents that their charges name."""

        async def ask(snapshot: OrderStateSnapshot) -> OrderStateSnapshot:
            intents = await self._audit(c.intent_id for c in snapshot.charges if c.intent_id)
            return replace(snapshot, intents=intents, knows_all_intents=True)

        return await _gather_limited(ask, snapshots)

    async def documents(self, order_id: str) -> OrderDocuments:
        """The order, its ticket and its charges, at one instant."""
        return (await self._documents([PydanticObjectId(order_id)]))[order_id]

    async def workflow(self, workflow_id: str) -> WorkflowFacts:
        """The current state of a workflow; not from visibility, which lags behind."""
        try:
            description = await self._temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return WorkflowFacts(WorkflowState.UNKNOWN)
        is_running = description.close_time is None
        return WorkflowFacts(
            WorkflowState.RUNNING if is_running else WorkflowState.CLOSED,
            description.start_time,
            description.close_time,
        )

    async def _with_intents_if_overdue(self, snapshot: OrderStateSnapshot) -> OrderStateSnapshot:
        """The same snapshot with the intents that the charges name, if Stripe answers."""
        if not is_overdue(snapshot):
            return snapshot
        try:
            found = await self._audit(c.intent_id for c in snapshot.charges if c.intent_id)
        except (PaymentOutcomeUnknown, PaymentRefused):
            return snapshot
        return replace(snapshot, intents=_intents_of(snapshot.order_id, found))

    async def _find_unnamed_intents(
        self, order: OrderFacts, workflow: WorkflowFacts
    ) -> list[PaymentIntent]:
        """The order's intents among all that were created in its time."""
        # While Stripe cannot be reached an order stays open, past its deadline if need be.
        ended_at = order.closed_at or workflow.ended_at or utc_now()
        end = max(order.expires_at, ended_at) + LATE_INTENT_WINDOW
        found: list[PaymentIntent] = []
        after: str | None = None
        while True:
            page = await self._gateway.list_intents(
                since=order.created_at, until=end, after=after, limit=STRIPE_PAGE
            )
            found += [intent for intent in page if intent.order_id == order.id]
            if len(page) < STRIPE_PAGE:
                return found
            after = page[-1].id

    async def _audit(self, intent_ids: Iterable[str]) -> tuple[PaymentIntent, ...]:
        answers = await _gather_limited(self._gateway.read_with_refunds, intent_ids)
        return tuple(intent for intent in answers if intent is not None)

    async def _documents(self, ids: Iterable[PydanticObjectId]) -> dict[str, OrderDocuments]:
        wanted = list(ids)

        async def read(session: AsyncClientSession) -> dict[str, OrderDocuments]:
            orders = await Order.find({"_id": {"$in": wanted}}, session=session).to_list()
            ticket_ids = [order.ticket_id for order in orders]
            tickets = await Ticket.find({"_id": {"$in": ticket_ids}}, session=session).to_list()
            of_them = Charge.find({"order_id": {"$in": wanted}}, session=session)
            charges = await of_them.sort("attempt").to_list()
            return {
                str(order_id): _documents_of(order_id, orders, tickets, charges)
                for order_id in wanted
            }

        return await self._at_one_instant(read)

    async def _at_one_instant(self, read: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        return await in_transaction(self._mongo, read, read_concern=ReadConcern("snapshot"))


async def _gather_limited(ask: Callable[[A], Awaitable[T]], about: Iterable[A]) -> list[T]:
    turns = asyncio.Semaphore(CONCURRENCY)

    async def in_turn(candidate: A) -> T:
        async with turns:
            return await ask(candidate)

    return list(await asyncio.gather(*(in_turn(candidate) for candidate in about)))


def _intents_of(order_id: str, intents: Iterable[PaymentIntent]) -> tuple[PaymentIntent, ...]:
    """The order's intents, each once; of two readings of one, the later."""
    found = {intent.id: intent for intent in intents if intent.order_id == order_id}
    return tuple(found[key] for key in sorted(found))


def _documents_of(
    order_id: PydanticObjectId, orders: list[Order], tickets: list[Ticket], charges: list[Charge]
) -> OrderDocuments:
    order = next((order for order in orders if order.id == order_id), None)
    ticket = next((t for t in tickets if order is not None and t.id == order.ticket_id), None)
    return OrderDocuments(
        order and _order_facts(order),
        ticket and _ticket_facts(ticket),
        tuple(_charge_facts(charge) for charge in charges if charge.order_id == order_id),
    )


def _order_snapshot(
    order_id: str,
    documents: OrderDocuments,
    *,
    workflow: WorkflowFacts | None = None,
    refund: WorkflowFacts | None = None,
    intents: tuple[PaymentIntent, ...] | None = None,
    knows_all_intents: bool = False,
) -> OrderStateSnapshot:
    return OrderStateSnapshot(
        order_id=order_id,
        now=utc_now(),
        order=documents.order,
        ticket=documents.ticket,
        charges=documents.charges,
        workflow=workflow,
        refund=refund,
        intents=intents,
        knows_all_intents=knows_all_intents,
    )


def _ticket_snapshot(ticket: Ticket, orders: list[Order]) -> TicketStateSnapshot:
    named = next((order for order in orders if order.id == ticket.order_id), None)
    holding = [
        order
        for order in orders
        if order.ticket_id == ticket.id and order.status in HOLDING_STATUSES
    ]
    return TicketStateSnapshot(
        ticket=_ticket_facts(ticket),
        holding_order_ids=tuple(sorted(str(order.id) for order in holding)),
        named=named and _order_facts(named),
    )


def _ticket_facts(ticket: Ticket) -> TicketFacts:
    return TicketFacts(
        id=str(ticket.id),
        order_id=str(ticket.order_id) if ticket.order_id else None,
        is_sold=ticket.sold_at is not None,
    )


def _order_facts(order: Order) -> OrderFacts:
    return OrderFacts(
        id=str(order.id),
        ticket_id=str(order.ticket_id),
        status=order.status,
        price=order.ticket.price,
        currency=order.ticket.currency,
        created_at=order.created_at,
        expires_at=order.expires_at,
        closed_at=order.cancelled_at or order.completed_at,
    )


def _charge_facts(charge: Charge) -> ChargeFacts:
    return ChargeFacts(
        id=str(charge.id),
        attempt=charge.attempt,
        status=charge.status,
        amount=charge.amount,
        currency=charge.currency,
        intent_id=charge.stripe_id,
    )
