"""Activities: the side effects of workflows, in MongoDB and at Stripe."""

from collections.abc import Callable
from typing import Any

from pymongo import AsyncMongoClient
from temporalio.client import Client

from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from activities.reconciliation.activities import ReconciliationActivities
from activities.refunds import RefundActivities
from activities.reservations import ReservationActivities
from ticketing.mongodb import BSONDocument
from ticketing.observability.metrics import OrderMetrics, meter_of
from ticketing.payments.gateway import StripeGateway


def build_activities(
    mongo: AsyncMongoClient[BSONDocument], gateway: StripeGateway, temporal: Client
) -> list[Callable[..., Any]]:
    """Every activity that a worker carries out, bound to the parts that it works on."""
    meter = meter_of(temporal)
    order_metrics = OrderMetrics(meter)
    reservations = ReservationActivities(mongo)
    orders = OrderActivities(mongo, order_metrics)
    payments = PaymentActivities(mongo, gateway, orders)
    refunds = RefundActivities(mongo, gateway, order_metrics)
    reconciliation = ReconciliationActivities(mongo, gateway, temporal, meter)
    return [
        reservations.reserve_ticket,
        reservations.abandon_reservation,
        orders.begin_payment,
        orders.fail_payment,
        orders.complete_order,
        orders.cancel_order,
        payments.take_payment,
        payments.authorize_payment,
        payments.read_payment,
        payments.capture_payment,
        payments.cancel_payment_intent,
        refunds.find_payment,
        refunds.refund_payment,
        refunds.read_refunds,
        refunds.add_timeline_entry,
        refunds.record_refund,
        reconciliation.find_candidates,
        reconciliation.examine_candidate,
        reconciliation.record_run,
    ]
