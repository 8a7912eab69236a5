"""A small market for tests: users, tickets, purchases, and what became of them."""

from dataclasses import dataclass, field
from datetime import timedelta

from beanie import PydanticObjectId
from stripe.params import RefundCreateParams
from temporalio.client import WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.testing import WorkflowEnvironment

from activities.reservations import Reservation
from api.temporal.refunds import start_refund
from stripe_sandbox.errors import Json
from stripe_sandbox.testing import RunningSandbox, stripe_client
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.models import Charge, Order, Ticket
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import (
    CancelReason,
    ChargeStatus,
    OrderStatus,
    TicketStatus,
    TimelineCode,
)
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import (
    PAYMENT_INTENT_CHANGED,
    PAYMENT_SUBMITTED,
    OrderInput,
    OrderState,
    OrderWorkflow,
    PaymentDecision,
    PaymentIntentChanged,
    PaymentSubmitted,
)
from workflows.refunds import RefundChanged, RefundRecorded, RefundRequested, RefundWorkflow

RefundHandle = WorkflowHandle[RefundWorkflow, RefundRecorded]

TTL = timedelta(minutes=15)


@dataclass
class Purchase:
    """One buyer's order, seen from outside."""

    order_id: PydanticObjectId
    ticket_id: PydanticObjectId
    reservation: Reservation
    handle: WorkflowHandle[OrderWorkflow, OrderState]

    async def submit_payment(
        self,
        payment_method: str = "pm_card_visa",
        *,
        charge_id: PydanticObjectId | None = None,
    ) -> PydanticObjectId:
        charge_id = charge_id or PydanticObjectId()
        await self.handle.signal(
            PAYMENT_SUBMITTED,
            PaymentSubmitted(charge_id=str(charge_id), payment_method=payment_method),
        )
        return charge_id

    async def decision(self, charge_id: PydanticObjectId) -> PaymentDecision:
        return await self.handle.execute_update(
            OrderWorkflow.await_payment_decision, str(charge_id)
        )

    async def pay(self, payment_method: str = "pm_card_visa") -> PaymentDecision:
        return await self.decision(await self.submit_payment(payment_method))

    async def cancel(self) -> OrderState:
        return await self.handle.execute_update(OrderWorkflow.cancel)

    async def report_intent_change(self) -> None:
        """What the webhook does: say that there is news, and not which."""
        charge = (await self.charges())[-1]
        assert charge.stripe_id is not None
        await self.handle.signal(PAYMENT_INTENT_CHANGED, PaymentIntentChanged(charge.stripe_id))

    async def timeline_of(self) -> list[tuple[TimelineCode, str | None]]:
        """What the order's timeline tells, each entry with its reason."""
        return [(entry.code, entry.reason) for entry in (await self.order()).timeline]

    async def order(self) -> Order:
        order = await Order.get(self.order_id)
        assert order is not None
        return order

    async def ticket(self) -> Ticket:
        ticket = await Ticket.get(self.ticket_id)
        assert ticket is not None
        return ticket

    async def charges(self) -> list[Charge]:
        return await Charge.find({"order_id": self.order_id}).sort("attempt").to_list()

    async def is_completed(self) -> None:
        """Assert that the order, its charge, its ticket and Stripe all say completed."""
        order, ticket, charges = await self.order(), await self.ticket(), await self.charges()
        assert (order.status, order.cancel_reason) == (OrderStatus.COMPLETED, None)
        assert order.completed_at is not None
        assert (ticket.status, ticket.order_id) == (TicketStatus.SOLD, order.id)
        completed = [charge for charge in charges if charge.status is ChargeStatus.COMPLETED]
        assert [(charge.amount, charge.currency) for charge in completed] == [
            (order.ticket.price, order.ticket.currency)
        ]
        assert all(charge.client_secret is None for charge in charges)

    async def is_refunded(self, refund_id: str) -> None:
        """Assert that the money went back, and that order and ticket say so."""
        order, charges = await self.order(), await self.charges()
        assert (order.status, order.cancel_reason) == (OrderStatus.CANCELLED, CancelReason.REFUNDED)
        assert order.completed_at is not None
        assert order.cancelled_at is not None
        (paid,) = [charge for charge in charges if charge.status is ChargeStatus.COMPLETED]
        assert paid.stripe_refund_id == refund_id
        ticket = await Ticket.get(self.ticket_id)
        assert ticket is None or ticket.order_id != order.id

    async def is_cancelled(self, reason: CancelReason) -> None:
        """Assert that the order is cancelled for the reason and holds neither ticket nor money."""
        order, ticket, charges = await self.order(), await self.ticket(), await self.charges()
        assert (order.status, order.cancel_reason) == (OrderStatus.CANCELLED, reason)
        assert order.cancelled_at is not None
        assert ticket.order_id != order.id
        assert all(charge.status is ChargeStatus.FAILED for charge in charges)
        assert all(charge.client_secret is None for charge in charges)


@dataclass
class Market:
    """Sellers list tickets, buyers reserve them; all through the order's own workflow."""

    env: WorkflowEnvironment
    task_queue: str
    sandbox: RunningSandbox
    ttl: timedelta = field(default=TTL, kw_only=True)
    """How long a reservation lasts, unless said otherwise."""

    async def pass_deadline(self) -> None:
        """Let every reservation expire that was made by now."""
        await self.env.sleep(self.ttl + timedelta(seconds=1))

    async def list_ticket(self, price: int = 2500) -> Ticket:
        now = utc_now()
        return await Ticket(
            title="Front row, Friday",
            price=price,
            currency="usd",
            user_id=PydanticObjectId(),
            created_at=now,
            updated_at=now,
        ).insert()

    async def look_at(self, ticket: Ticket) -> Ticket:
        """The ticket as it is now."""
        found = await Ticket.get(ticket.id)
        assert found is not None
        return found

    async def ask_for(
        self,
        ticket: Ticket,
        *,
        buyer_id: PydanticObjectId | None = None,
        ttl: timedelta | None = None,
        attempts: int = 1,
        order_id: PydanticObjectId | None = None,
        max_reservations: int = 8,
    ) -> Purchase:
        """Start a purchase and take its reservation, granted or refused."""
        assert ticket.id is not None
        order_id = order_id or PydanticObjectId()
        start = WithStartWorkflowOperation(
            OrderWorkflow.run,
            OrderInput(
                order_id=str(order_id),
                ticket_id=str(ticket.id),
                buyer_id=str(buyer_id or PydanticObjectId()),
                reservation_ttl=ttl or self.ttl,
                payment_attempts=attempts,
                max_reservations=max_reservations,
            ),
            id=order_workflow_id(str(order_id)),
            task_queue=self.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
        reservation = await self.env.client.execute_update_with_start_workflow(
            OrderWorkflow.reserve, start_workflow_operation=start
        )
        return Purchase(order_id, ticket.id, reservation, await start.workflow_handle())

    async def reserve(
        self, ticket: Ticket | None = None, *, ttl: timedelta | None = None, attempts: int = 1
    ) -> Purchase:
        """Reserve a ticket, a new one unless given, and insist that it was granted."""
        purchase = await self.ask_for(
            ticket or await self.list_ticket(), ttl=ttl, attempts=attempts
        )
        assert purchase.reservation.refusal is None
        return purchase

    async def sell(self, payment_method: str = "pm_card_visa") -> Purchase:
        """A purchase that was paid and is over."""
        purchase = await self.reserve()
        await purchase.pay(payment_method)
        await purchase.handle.result()
        await purchase.is_completed()
        return purchase

    async def refund(self, purchase: Purchase, *, relist: bool = False) -> RefundHandle:
        """Ask for a refund as the API does for the seller."""
        return await self._message_refund(purchase, RefundRequested(relist))

    async def report_refund_change(self, purchase: Purchase) -> RefundHandle:
        """What the webhook does: say that there is news of a refund, and not which."""
        charge = (await purchase.charges())[-1]
        assert charge.stripe_id is not None
        return await self._message_refund(purchase, RefundChanged(charge.stripe_id))

    async def _message_refund(
        self, purchase: Purchase, message: RefundRequested | RefundChanged
    ) -> RefundHandle:
        order = await purchase.order()
        return await start_refund(self.env.client, self.task_queue, order, message)

    async def waits_for_stripe(self, purchase: Purchase) -> None:
        """Wait until the refund of the purchase has told that it is delayed."""

        async def is_told() -> bool:
            return any(
                code is TimelineCode.REFUND_DELAYED for code, _ in await purchase.timeline_of()
            )

        await eventually(is_told)

    async def refund_at_stripe(self, purchase: Purchase, *, amount: int | None = None) -> str:
        """Refund a payment in Stripe's own dashboard, all of it or an amount; the refund's id."""
        charge = (await purchase.charges())[-1]
        assert charge.stripe_id is not None
        wanted: RefundCreateParams = {"payment_intent": charge.stripe_id}
        if amount is not None:
            wanted["amount"] = amount
        async with stripe_client(self.sandbox.url) as dashboard:
            return (await dashboard.v1.refunds.create_async(wanted)).id

    async def refunds_of(self, purchase: Purchase) -> list[Json]:
        """Stripe's refunds of the order's last payment, oldest first."""
        charge = (await purchase.charges())[-1]
        assert charge.stripe_id is not None
        return self.sandbox.refunds(charge.stripe_id)[::-1]

    def authenticate(self, charge: Charge, *, approve: bool) -> None:
        """Press a button on the bank's page."""
        assert charge.stripe_id is not None
        self.sandbox.authenticate(charge.stripe_id, approve=approve)

    async def is_refused(self, ticket: Ticket, refusal: ProblemCode) -> None:
        """Assert that a new buyer is refused the ticket, and no order comes of it."""
        purchase = await self.ask_for(ticket)
        assert purchase.reservation.refusal is refusal
        assert await Order.get(purchase.order_id) is None
