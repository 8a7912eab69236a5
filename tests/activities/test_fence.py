"""The fence before money, condition by condition, and the mark that keeps an order open."""

import asyncio
from datetime import timedelta

import pytest
from beanie import Document, PydanticObjectId
from pymongo import AsyncMongoClient

from activities.orders import (
    BeginPayment,
    CancelOrder,
    CompleteOrder,
    FailedCharge,
    FailPayment,
    OrderActivities,
)
from activities.reservations import ReservationActivities, ReserveTicket
from ticketing.clock import utc_now
from ticketing.models import Charge, Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.payments.fence import PaymentFence
from ticketing.statuses import CancelReason, ChargeStatus, OrderStatus

INTENT = "pi_1"
ROUNDS = 20


class Paying:
    """An order whose payment is authorized and about to be captured."""

    def __init__(self, mongo: AsyncMongoClient[BSONDocument]) -> None:
        self.orders = OrderActivities(mongo)
        self.fence = PaymentFence(mongo)
        self.order_id, self.charge_id = PydanticObjectId(), PydanticObjectId()
        self.ticket_id = PydanticObjectId()
        self._reservations = ReservationActivities(mongo)

    async def begin(self) -> "Paying":
        now = utc_now()
        await Ticket(
            id=self.ticket_id,
            title="Front row",
            price=2500,
            currency="usd",
            user_id=PydanticObjectId(),
            created_at=now,
            updated_at=now,
        ).insert()
        await self._reservations.reserve_ticket(
            ReserveTicket(
                order_id=str(self.order_id),
                ticket_id=str(self.ticket_id),
                buyer_id=str(PydanticObjectId()),
                reserved_at=now,
                expires_at=now + timedelta(minutes=15),
                max_reservations=8,
            )
        )
        begun = await self.orders.begin_payment(
            BeginPayment(
                order_id=str(self.order_id),
                ticket_id=str(self.ticket_id),
                charge_id=str(self.charge_id),
                attempt=1,
                amount=2500,
                currency="usd",
                at=now,
                payment_method="pm_card_visa",
            )
        )
        assert begun.is_begun
        await self.change(Charge, self.charge_id, stripe_id=INTENT)
        return self

    async def may_authorize(self) -> bool:
        passed = await self.fence.before_authorization(
            str(self.order_id), str(self.charge_id), 2500, "usd"
        )
        return passed is not None

    async def may_capture(self, *, intent: str = INTENT, amount: int = 2500) -> bool:
        return await self.fence.before_capture(str(self.order_id), 1, intent, amount)

    async def cancel(self, *, ended: str | None = None) -> OrderStatus:
        failed = FailedCharge(str(self.charge_id), "expired", ended)
        return await self.orders.cancel_order(
            CancelOrder(
                str(self.order_id), str(self.ticket_id), CancelReason.EXPIRED, utc_now(), failed
            )
        )

    async def complete(self) -> OrderStatus:
        return await self.orders.complete_order(
            CompleteOrder(str(self.order_id), str(self.ticket_id), str(self.charge_id), utc_now())
        )

    async def charge(self) -> Charge:
        found = await Charge.get(self.charge_id)
        assert found is not None
        return found

    async def change(self, model: type[Document], id: PydanticObjectId, **fields: object) -> None:
        await model.get_pymongo_collection().update_one({"_id": id}, {"$set": fields})


@pytest.fixture
async def paying(mongodb: AsyncMongoClient[BSONDocument]) -> Paying:
    return await Paying(mongodb).begin()


async def test_a_payment_of_an_order_with_its_ticket_passes_as_often_as_it_is_asked(
    paying: Paying,
) -> None:
    for _ in range(2):
        assert await paying.may_authorize()
        assert await paying.may_capture()

    charge = await paying.charge()
    assert charge.capturing == INTENT
    assert charge.asked_at is not None


ANOTHER = PydanticObjectId()


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Charge, {"status": ChargeStatus.FAILED}),
        (Charge, {"status": ChargeStatus.COMPLETED}),
        (Charge, {"order_id": ANOTHER}),
        (Charge, {"amount": 2400}),
        (Charge, {"currency": "eur"}),
        (Order, {"status": OrderStatus.CANCELLED}),
        (Order, {"status": OrderStatus.CREATED}),
        (Order, {"status": OrderStatus.COMPLETED}),
        (Order, {"ticket.price": 9900}),
        (Order, {"ticket_id": ANOTHER}),
        (Ticket, {"order_id": None}),
        (Ticket, {"order_id": ANOTHER}),
        (Ticket, {"sold_at": utc_now()}),
    ],
)
async def test_no_payment_passes_where_the_documents_say_otherwise(
    paying: Paying, model: type[Document], change: dict[str, object]
) -> None:
    ids: dict[type[Document], PydanticObjectId] = {
        Charge: paying.charge_id,
        Order: paying.order_id,
        Ticket: paying.ticket_id,
    }
    await paying.change(model, ids[model], **change)

    assert not await paying.may_authorize()
    assert (await paying.charge()).asked_at is None
    assert not await paying.may_capture()


async def test_a_capture_that_order_or_ticket_refuse_holds_the_order_until_the_intent_is_ended(
    paying: Paying,
) -> None:
    await paying.change(Ticket, paying.ticket_id, order_id=None)
    assert not await paying.may_capture()

    assert await paying.cancel() is OrderStatus.AWAITING_PAYMENT
    assert await paying.cancel(ended=INTENT) is OrderStatus.CANCELLED


async def test_the_intent_of_a_capture_is_noted_with_its_mark(paying: Paying) -> None:
    await paying.change(Charge, paying.charge_id, stripe_id=None)

    assert await paying.may_capture()

    charge = await paying.charge()
    assert (charge.stripe_id, charge.capturing) == (INTENT, INTENT)


@pytest.mark.parametrize("model", [Charge, Order, Ticket])
async def test_no_payment_passes_for_what_was_deleted(
    paying: Paying, model: type[Document]
) -> None:
    await model.find_all().delete()

    assert not await paying.may_authorize()
    assert not await paying.may_capture()


async def test_another_intent_of_the_same_attempt_is_not_captured(paying: Paying) -> None:
    assert not await paying.may_capture(intent="pi_2")


async def test_another_amount_than_the_orders_price_is_not_captured(paying: Paying) -> None:
    for model, id in ((Charge, paying.charge_id), (Order, paying.order_id)):
        field = "amount" if model is Charge else "ticket.price"
        await paying.change(model, id, **{field: 100})

    assert not await paying.may_capture(amount=2500)


async def test_while_a_capture_is_under_way_nobody_cancels_the_order(paying: Paying) -> None:
    assert await paying.may_capture()

    for ended in (None, "pi_2"):
        assert await paying.cancel(ended=ended) is OrderStatus.AWAITING_PAYMENT
    failed = FailedCharge(str(paying.charge_id), "expired")
    await paying.orders.fail_payment(FailPayment(str(paying.order_id), failed, utc_now()))

    assert (await paying.charge()).status is ChargeStatus.CREATED
    assert await paying.complete() is OrderStatus.COMPLETED
    assert (await paying.charge()).capturing is None


async def test_an_order_whose_intent_stripe_has_ended_is_cancelled(paying: Paying) -> None:
    assert await paying.may_capture()

    assert await paying.cancel(ended=INTENT) is OrderStatus.CANCELLED

    charge = await paying.charge()
    assert (charge.status, charge.capturing) == (ChargeStatus.FAILED, None)
    assert not await paying.may_capture()


async def test_of_a_capture_and_a_cancellation_at_once_one_comes_first(
    mongodb: AsyncMongoClient[BSONDocument],
) -> None:
    for _ in range(ROUNDS):
        paying = await Paying(mongodb).begin()

        may_capture, status = await asyncio.gather(paying.may_capture(), paying.cancel())

        assert may_capture == (status is OrderStatus.AWAITING_PAYMENT)


async def test_control_a_look_without_a_write_lets_both_have_their_way(
    paying: Paying,
) -> None:
    order, ticket = await Order.get(paying.order_id), await Ticket.get(paying.ticket_id)
    assert order is not None
    assert ticket is not None
    may_capture = order.status is OrderStatus.AWAITING_PAYMENT and ticket.order_id == order.id

    assert await paying.cancel() is OrderStatus.CANCELLED
    assert may_capture
