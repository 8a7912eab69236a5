"""Each order is counted once, however often the step that closed it is repeated."""

import asyncio
from datetime import timedelta

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient

from activities.orders import (
    BeginPayment,
    CancelOrder,
    CompleteOrder,
    OrderActivities,
)
from activities.reconciliation.gauges import count_open_orders
from activities.refunds import RecordRefund, RefundActivities
from activities.reservations import ReservationActivities, ReserveTicket
from stripe_sandbox.testing import RunningSandbox
from tests.observability.meters import ReadableMeter
from ticketing.clock import utc_now
from ticketing.models import Order, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.observability.metrics import OrderMetrics
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.instrumented_http import api_call, error_kind
from ticketing.payments.intents import PaymentOutcomeUnknown
from ticketing.settings import StripeApiSettings
from ticketing.statuses import CancelReason

Mongo = AsyncMongoClient[BSONDocument]

TTL = timedelta(minutes=15)


@pytest.fixture
def readable() -> ReadableMeter:
    return ReadableMeter()


@pytest.fixture
def order_metrics(readable: ReadableMeter) -> OrderMetrics:
    return OrderMetrics(readable.meter)


@pytest.fixture
def orders(mongodb: Mongo, order_metrics: OrderMetrics) -> OrderActivities:
    return OrderActivities(mongodb, order_metrics)


async def reserved(mongodb: Mongo) -> ReserveTicket:
    """A ticket that an order holds."""
    now = utc_now()
    ticket = await Ticket(
        title="Front row",
        price=2500,
        currency="usd",
        user_id=PydanticObjectId(),
        created_at=now,
        updated_at=now,
    ).insert()
    request = ReserveTicket(
        order_id=str(PydanticObjectId()),
        ticket_id=str(ticket.id),
        buyer_id=str(PydanticObjectId()),
        reserved_at=now,
        expires_at=now + TTL,
        max_reservations=8,
    )
    await ReservationActivities(mongodb).reserve_ticket(request)
    return request


async def completing(orders: OrderActivities, request: ReserveTicket) -> CompleteOrder:
    """The last step of an order that is paid a minute after its reservation."""
    charge_id = str(PydanticObjectId())
    await orders.begin_payment(
        BeginPayment(
            order_id=request.order_id,
            ticket_id=request.ticket_id,
            charge_id=charge_id,
            attempt=1,
            amount=2500,
            currency="usd",
            at=request.reserved_at,
            payment_method="pm_card_visa",
        )
    )
    paid_at = request.reserved_at + timedelta(minutes=1)
    return CompleteOrder(request.order_id, request.ticket_id, charge_id, paid_at)


def ended(readable: ReadableMeter, outcome: str, reason: str = "") -> float:
    return readable.added("holdfast_orders", outcome=outcome, reason=reason)


async def test_a_completion_that_is_repeated_is_counted_once_with_its_time(
    mongodb: Mongo, orders: OrderActivities, readable: ReadableMeter
) -> None:
    step = await completing(orders, await reserved(mongodb))

    await asyncio.gather(*(orders.complete_order(step) for _ in range(3)))
    await orders.complete_order(step)

    assert ended(readable, "completed") == 1
    assert readable.recorded("holdfast_order_payment") == [pytest.approx(60, abs=0.01)]


async def test_a_cancellation_that_is_repeated_is_counted_once_with_its_reason(
    mongodb: Mongo, orders: OrderActivities, readable: ReadableMeter
) -> None:
    request = await reserved(mongodb)
    step = CancelOrder(request.order_id, request.ticket_id, CancelReason.EXPIRED, utc_now())

    await asyncio.gather(*(orders.cancel_order(step) for _ in range(3)))
    await orders.cancel_order(step)

    assert ended(readable, "cancelled", "expired") == 1


async def test_a_cancellation_that_comes_too_late_is_not_counted(
    mongodb: Mongo, orders: OrderActivities, readable: ReadableMeter
) -> None:
    request = await reserved(mongodb)
    await orders.complete_order(await completing(orders, request))

    await orders.cancel_order(
        CancelOrder(request.order_id, request.ticket_id, CancelReason.EXPIRED, utc_now())
    )

    assert ended(readable, "cancelled", "expired") == 0
    assert ended(readable, "completed") == 1


async def test_a_refund_that_is_recorded_twice_is_counted_once(
    mongodb: Mongo,
    orders: OrderActivities,
    gateway: StripeGateway,
    order_metrics: OrderMetrics,
    readable: ReadableMeter,
) -> None:
    request = await reserved(mongodb)
    await orders.complete_order(await completing(orders, request))
    refunds = RefundActivities(mongodb, gateway, order_metrics)
    step = RecordRefund(request.order_id, request.ticket_id, "re_1", relist=False, at=utc_now())

    await refunds.record_refund(step)
    await refunds.record_refund(step)

    assert ended(readable, "cancelled", "refunded") == 1


async def test_open_orders_are_counted_by_status_in_the_index_of_open_ones(
    mongodb: Mongo, orders: OrderActivities
) -> None:
    for _ in range(2):
        await reserved(mongodb)
    await completing(orders, await reserved(mongodb))
    await orders.complete_order(await completing(orders, await reserved(mongodb)))

    assert await count_open_orders() == {"created": 2, "awaiting_payment": 1}
    plan = await Order.get_pymongo_collection().database.command(
        "explain",
        {
            "aggregate": "orders",
            "pipeline": [
                {"$match": {"status": {"$in": ["created", "awaiting_payment"]}}},
                {"$group": {"_id": "$status", "count": {"$sum": 1}}},
            ],
            "hint": "open_newest_first",
            "cursor": {},
        },
        verbosity="executionStats",
    )
    assert "'totalDocsExamined': 0" in str(plan)


async def test_each_request_to_stripe_is_measured_and_its_error_named(
    sandbox: RunningSandbox, readable: ReadableMeter
) -> None:
    gateway = StripeGateway(
        StripeApiSettings(api_key="sk_test_sandbox", api_base=sandbox.url), readable.meter
    )
    sandbox.set_fault("error", path="/v1/payment_intents/*")
    with pytest.raises(PaymentOutcomeUnknown):
        await gateway.read("pi_1")
    await gateway.close()
    with pytest.raises(PaymentOutcomeUnknown):
        await gateway.read("pi_1")  # over a client that is closed

    errors = "holdfast_stripe_errors"
    assert readable.added(errors, call="read", kind="server_error") == 1
    assert readable.added(errors, call="read", kind="no_answer") == 1
    assert len(readable.recorded("holdfast_stripe_request_duration")) == 2


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/v1/payment_intents", "authorize"),
        ("POST", "/v1/payment_intents/pi_1/capture", "capture"),
        ("POST", "/v1/payment_intents/pi_1/cancel", "cancel"),
        ("GET", "/v1/payment_intents/pi_1?expand[]=latest_charge", "read"),
        ("GET", "/v1/payment_intents?limit=100", "list_intents"),
        ("POST", "/v1/refunds", "refund"),
        ("GET", "/v1/refunds?payment_intent=pi_1", "list_refunds"),
        ("GET", "/v1/customers/cus_1", "other"),
    ],
)
def test_a_request_is_named_by_what_it_asks_for(method: str, path: str, call: str) -> None:
    assert api_call(method, f"https://api.stripe.com{path}") == call


def test_every_answer_that_is_no_yes_has_a_kind() -> None:
    assert [error_kind(status) for status in (200, 302)] == [None, None]
    kinds = [error_kind(status) for status in (400, 401, 402, 403, 404, 409, 429, 500, 503)]
    assert kinds == [
        "refused",
        "unauthorized",
        "declined",
        "unauthorized",
        "refused",
        "conflict",
        "rate_limited",
        "server_error",
        "server_error",
    ]
