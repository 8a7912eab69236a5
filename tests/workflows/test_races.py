"""Two things at once; each guard has a control that shows what happens without it."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError
from temporalio import workflow
from temporalio.client import WorkflowUpdateFailedError

from activities.orders import BegunPayment, FailedCharge
from activities.payments import PaymentState
from activities.reservations import Reservation, ReservationActivities, ReserveTicket
from tests.market import Market, Purchase
from tests.purchases import careless
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.models import Order, Ticket, TicketSnapshot
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from ticketing.problem_codes import ProblemCode
from ticketing.statuses import CancelReason, OrderStatus
from workflows.orders import OrderInput, OrderState, OrderWorkflow, PaymentSubmitted

BUYERS = 50


# --- fifty buyers and one ticket ---------------------------------------------------------


async def test_fifty_buyers_reserve_one_ticket_and_one_gets_it(market: Market) -> None:
    ticket = await market.list_ticket()

    purchases = await asyncio.gather(*(market.ask_for(ticket) for _ in range(BUYERS)))

    refusals = [p.reservation.refusal for p in purchases if p.reservation.refusal]
    assert refusals == [ProblemCode.TICKET_RESERVED] * (BUYERS - 1)
    (order,) = await Order.find_all().to_list()
    assert (await market.look_at(ticket)).order_id == order.id


async def check_then_insert(
    market: Market, ticket: Ticket, request: ReserveTicket, everybody_has_looked: asyncio.Barrier
) -> None:
    """A reservation as it is often written: look first, then write."""
    ticket = await market.look_at(ticket)
    await everybody_has_looked.wait()
    if ticket.order_id is None:
        await ticket.set({"order_id": PydanticObjectId(request.order_id)})
        await Order(
            id=PydanticObjectId(request.order_id),
            user_id=PydanticObjectId(request.buyer_id),
            seller_id=ticket.user_id,
            ticket_id=PydanticObjectId(request.ticket_id),
            ticket=TicketSnapshot(title=ticket.title, price=ticket.price, currency="usd"),
            status=OrderStatus.CREATED,
            created_at=request.reserved_at,
            expires_at=request.expires_at,
        ).insert()


def requests_for(ticket: Ticket, count: int) -> list[ReserveTicket]:
    now = utc_now()
    return [
        ReserveTicket(
            order_id=str(PydanticObjectId()),
            ticket_id=str(ticket.id),
            buyer_id=str(PydanticObjectId()),
            reserved_at=now,
            expires_at=now + timedelta(minutes=15),
            max_reservations=8,
        )
        for _ in range(count)
    ]


async def test_control_without_the_conditional_write_a_ticket_is_sold_many_times(
    market: Market,
) -> None:
    ticket = await market.list_ticket()
    await Order.get_pymongo_collection().drop_index("one_holding_order_per_ticket")
    barrier = asyncio.Barrier(BUYERS)

    await asyncio.gather(
        *(check_then_insert(market, ticket, r, barrier) for r in requests_for(ticket, BUYERS))
    )

    assert await Order.find_all().count() == BUYERS


async def test_the_index_alone_refuses_a_second_order_for_a_ticket(market: Market) -> None:
    ticket = await market.list_ticket()
    barrier = asyncio.Barrier(BUYERS)

    outcomes = await asyncio.gather(
        *(check_then_insert(market, ticket, r, barrier) for r in requests_for(ticket, BUYERS)),
        return_exceptions=True,
    )

    assert [type(o) for o in outcomes if o is not None] == [DuplicateKeyError] * (BUYERS - 1)
    assert await Order.find_all().count() == 1


async def test_reservations_at_the_database_leave_one_winner_in_every_round(
    mongodb: AsyncMongoClient[BSONDocument], market: Market
) -> None:
    reservations = ReservationActivities(mongodb)
    for _ in range(5):
        ticket = await market.list_ticket()

        answers: list[Reservation] = await asyncio.gather(
            *(reservations.reserve_ticket(request) for request in requests_for(ticket, 20))
        )

        assert [a.refusal for a in answers].count(None) == 1
        assert await Order.find({"ticket_id": ticket.id}).count() == 1


# --- an edit of the price and a reservation ----------------------------------------------


async def edit_price(ticket: Ticket, price: int, *, guarded: bool = True) -> bool:
    """The seller's edit, as `PUT /api/tickets/{id}` makes it."""
    guard = {"order_id": None} if guarded else {}
    result = await Ticket.get_pymongo_collection().update_one(
        {"_id": ticket.id} | guard, {"$set": {"price": price}}
    )
    return result.modified_count == 1


async def test_the_buyer_pays_the_price_that_stands_when_the_ticket_is_reserved(
    market: Market,
) -> None:
    for _ in range(10):
        ticket = await market.list_ticket(price=1000)

        purchase, edited = await asyncio.gather(market.reserve(ticket), edit_price(ticket, 9000))

        order, ticket = await purchase.order(), await purchase.ticket()
        assert order.ticket.price == ticket.price == (9000 if edited else 1000)


async def test_control_an_unguarded_edit_changes_the_price_under_a_reservation(
    market: Market,
) -> None:
    ticket = await market.list_ticket(price=1000)
    purchase = await market.reserve(ticket)

    assert not await edit_price(ticket, 9000)
    assert await edit_price(ticket, 9000, guarded=False)

    assert (await purchase.order()).ticket.price != (await purchase.ticket()).price


# --- a payment, and the deadline, a cancellation, or another payment ---------------------


def _under_way(charges: Iterable[str]) -> FailedCharge:
    """Get past the second guard, by which an order with a payment is not cancelled as unpaid."""
    return FailedCharge(next(iter(charges)), "never asked")


@workflow.defn(name="OrderWorkflow")
class ReleasesAtTheDeadline(OrderWorkflow):
    """A control: gives the ticket back at the deadline, whatever Stripe is doing."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        deadline = asyncio.create_task(self._release_at_the_deadline())
        state = await super().run(input)
        await deadline
        return state

    async def _release_at_the_deadline(self) -> None:
        await workflow.sleep(self._input.reservation_ttl)
        await self._cancel_order(CancelReason.EXPIRED, _under_way(self._decisions))

    async def _complete_order(self, payment: PaymentSubmitted) -> None:
        """Leave out what cannot be done: the ticket is somebody else's by now."""


@workflow.defn(name="OrderWorkflow")
class CancelsDuringAPayment(OrderWorkflow):
    """A control: has no validator that refuses to cancel while a payment is decided."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    @workflow.update
    async def cancel(self) -> OrderState:  # type: ignore[override] # without its validator
        await self._cancel_order(CancelReason.CANCELLED_BY_BUYER, _under_way(self._decisions))
        return self.state()

    async def _complete_order(self, payment: PaymentSubmitted) -> None:
        """Leave out what cannot be done: the ticket is somebody else's by now."""


@workflow.defn(name="OrderWorkflow")
class DecidesEveryPayment(OrderWorkflow):
    """A control: takes every payment up, without asking what became of the one before."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)
        self._one_at_a_time = asyncio.Lock()

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    @workflow.signal
    async def payment_submitted(self, payment: PaymentSubmitted) -> None:
        assert self._reservation is not None
        self._decisions[payment.charge_id] = None
        async with self._one_at_a_time:
            await self._decide_payment(payment, self._reservation)

    async def _ask_for_money(
        self, payment: PaymentSubmitted, reservation: Reservation
    ) -> tuple[BegunPayment, PaymentState]:
        """Leave out the second guard: the record of what is being decided."""
        begun = BegunPayment(True, OrderStatus.AWAITING_PAYMENT)
        return begun, await self._authorize(payment, reservation)

    async def _complete_order(self, payment: PaymentSubmitted) -> None:
        """Leave out what cannot be done without that record."""


async def pay_while_stripe_is_slow(market: Market) -> Purchase:
    purchase = await market.reserve()
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    await purchase.submit_payment()
    await eventually(lambda: _is_asking_stripe(market))
    return purchase


async def _is_asking_stripe(market: Market) -> bool:
    return market.sandbox.count("POST", "/v1/payment_intents") > 0


async def test_a_payment_that_is_being_decided_outlives_the_deadline(market: Market) -> None:
    purchase = await market.reserve()
    # The test server skips no time while a step is running: this one has to end by itself.
    market.sandbox.set_fault("latency", path="/v1/payment_intents", delay_seconds=0.6)
    await purchase.submit_payment()
    await eventually(lambda: _is_asking_stripe(market))

    await market.env.sleep(timedelta(minutes=16))

    await purchase.handle.result()
    await purchase.is_completed()


@pytest.fixture
def trusting_steps(monkeypatch: pytest.MonkeyPatch, gateway: StripeGateway) -> None:
    """Let a control's workflow have its way: the steps at Stripe are the second guard."""
    careless.trust_history(monkeypatch, gateway)


@pytest.mark.usefixtures("trusting_steps")
@pytest.mark.parametrize("workflows", [[ReleasesAtTheDeadline]])
async def test_control_a_release_at_the_deadline_takes_money_for_a_cancelled_order(
    market: Market,
) -> None:
    purchase = await market.reserve(ttl=timedelta(seconds=3))
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    await purchase.submit_payment()
    await eventually(lambda: _is_asking_stripe(market))
    await eventually(lambda: _is_order_cancelled(purchase))
    market.sandbox.clear_faults()

    await eventually(lambda: _has_captured(market))
    assert await _is_order_cancelled(purchase)


async def _is_order_cancelled(purchase: Purchase) -> bool:
    return (await purchase.order()).status is OrderStatus.CANCELLED


async def test_a_cancellation_is_refused_while_a_payment_is_decided(market: Market) -> None:
    purchase = await pay_while_stripe_is_slow(market)

    with pytest.raises(WorkflowUpdateFailedError):
        await purchase.cancel()
    market.sandbox.clear_faults()

    await purchase.handle.result()
    await purchase.is_completed()


@pytest.mark.usefixtures("trusting_steps")
@pytest.mark.parametrize("workflows", [[CancelsDuringAPayment]])
async def test_control_a_cancellation_during_a_payment_takes_money_for_nothing(
    market: Market,
) -> None:
    purchase = await pay_while_stripe_is_slow(market)

    await purchase.cancel()
    market.sandbox.clear_faults()

    await eventually(lambda: _has_captured(market))
    assert (await purchase.order()).status is OrderStatus.CANCELLED


async def test_two_payments_for_one_order_are_captured_once(market: Market) -> None:
    purchase = await market.reserve()

    await asyncio.gather(purchase.submit_payment(), purchase.submit_payment())

    await purchase.handle.result()
    await purchase.is_completed()
    assert _captured(market) == [2500]


@pytest.mark.usefixtures("trusting_steps")
@pytest.mark.parametrize("workflows", [[DecidesEveryPayment]])
async def test_control_two_payments_are_captured_twice_where_nobody_asks_for_the_first(
    market: Market,
) -> None:
    purchase = await market.reserve()

    await asyncio.gather(purchase.submit_payment(), purchase.submit_payment())

    await eventually(lambda: _has_captured(market, times=2))


def _captured(market: Market) -> list[int]:
    amounts = [intent["amount_received"] for intent in market.sandbox.payment_intents()]
    return [amount for amount in amounts if amount]


async def _has_captured(market: Market, times: int = 1) -> bool:
    return len(_captured(market)) == times
