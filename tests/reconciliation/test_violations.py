"""Each violation is planted, found, and repaired where there is exactly one repair."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from beanie import PydanticObjectId
from temporalio.testing import ActivityEnvironment

from activities.reconciliation.activities import ReconciliationActivities, ViolationCounts
from activities.reconciliation.snapshots import SnapshotReader
from activities.reconciliation.violations import Candidate
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.reconciliation.auditor import Auditor
from tests.waiting import eventually
from ticketing import invariants
from ticketing.clock import utc_now
from ticketing.invariants import (
    OrderStateSnapshot,
    Scope,
    ViolationCode,
    WorkflowFacts,
    WorkflowState,
)
from ticketing.models import Charge, Order, ViolationRecord, ViolationStatus
from ticketing.statuses import OrderStatus

LONG_AGO = timedelta(minutes=10)


@pytest.fixture
async def ticket(seller: Person) -> Json:
    return await seller.list_ticket()


@pytest.fixture
async def order(buyer: Person, ticket: Json) -> Json:
    """An order that waits for its payment."""
    return await buyer.reserve(ticket)


@pytest.fixture
async def cancelled(buyer: Person, order: Json) -> Json:
    assert (await buyer.cancel(order)).status_code == 200
    return order


@pytest.fixture
async def charge(buyer: Person, order: Json) -> Json:
    """The charge that has paid for the order."""
    return await buyer.buy(order)


async def test_a_market_in_order_has_no_findings(auditor: Auditor, charge: Json) -> None:
    await auditor.finds_nothing()
    await auditor.finds_nothing(Scope.FULL)


async def test_a_lock_of_a_cancelled_order_is_released(
    auditor: Auditor, seller: Person, ticket: Json, cancelled: Json
) -> None:
    await auditor.tamper_with_ticket(ticket, order_id=PydanticObjectId(cancelled["id"]))

    await auditor.repairs(ViolationCode.LOCK_OF_CANCELLED_ORDER)

    assert (await seller.ticket(ticket))["status"] == "available"


async def test_a_lock_of_an_order_that_never_was_is_released(
    auditor: Auditor, seller: Person, ticket: Json
) -> None:
    await auditor.tamper_with_ticket(ticket, order_id=PydanticObjectId())

    await auditor.repairs(ViolationCode.LOCK_WITHOUT_ORDER)

    assert (await seller.ticket(ticket))["status"] == "available"


async def test_a_lock_of_another_tickets_order_is_reported(
    auditor: Auditor, seller: Person, order: Json
) -> None:
    other = await seller.list_ticket()
    await auditor.tamper_with_ticket(other, order_id=PydanticObjectId(order["id"]))

    await auditor.reports(ViolationCode.LOCK_OF_ANOTHER_TICKET)


async def test_a_ticket_sold_to_nobody_is_reported(auditor: Auditor, ticket: Json) -> None:
    await auditor.tamper_with_ticket(ticket, sold_at=utc_now())

    await auditor.reports(ViolationCode.SOLD_WITHOUT_COMPLETED_ORDER, scope=Scope.FULL)


async def test_a_completed_order_whose_ticket_is_not_sold_is_reported(
    auditor: Auditor, ticket: Json, charge: Json
) -> None:
    await auditor.tamper_with_ticket(ticket, sold_at=None)

    await auditor.reports(ViolationCode.COMPLETED_WITHOUT_SOLD_TICKET)


async def test_two_orders_that_hold_one_ticket_are_reported(
    auditor: Auditor, market: Marketplace, order: Json
) -> None:
    await Order.get_pymongo_collection().drop_index("one_holding_order_per_ticket")
    rival = await Order.get(order["id"])
    assert rival is not None
    rival.id = PydanticObjectId()
    rival.status = OrderStatus.COMPLETED
    rival.completed_at = utc_now()
    await rival.insert()

    await auditor.reports(
        ViolationCode.SEVERAL_HOLDING_ORDERS,
        ViolationCode.COMPLETED_WITHOUT_SOLD_TICKET,
        ViolationCode.COMPLETED_WITHOUT_CHARGE,
        ViolationCode.COMPLETED_WITHOUT_CAPTURE,
    )
    await rival.delete()
    await market.bind_documents()


async def test_an_open_order_that_lost_its_ticket_is_reported(
    auditor: Auditor, ticket: Json, order: Json
) -> None:
    await auditor.tamper_with_ticket(ticket, order_id=None)

    await auditor.reports(ViolationCode.OPEN_ORDER_WITHOUT_TICKET)


async def test_a_completed_order_without_a_charge_is_reported(
    auditor: Auditor, charge: Json
) -> None:
    await Charge.find_one({"_id": PydanticObjectId(charge["id"])}).delete()

    await auditor.reports(
        ViolationCode.COMPLETED_WITHOUT_CHARGE,
        ViolationCode.COMPLETED_WITHOUT_CAPTURE,
        ViolationCode.CAPTURED_TWICE,
    )


async def test_a_charge_over_another_amount_is_reported(auditor: Auditor, charge: Json) -> None:
    await auditor.tamper_with_charge(charge, amount=4999)

    await auditor.reports(ViolationCode.CHARGED_ANOTHER_AMOUNT)


async def test_a_capture_of_another_amount_is_reported(
    auditor: Auditor, order: Json, charge: Json
) -> None:
    await auditor.tamper_with_charge(charge, amount=4999)
    await auditor.tamper_with_order(order, **{"ticket.price": 4999})

    await auditor.reports(ViolationCode.CAPTURED_ANOTHER_AMOUNT)


async def test_a_payment_that_stripe_has_never_heard_of_is_reported(
    auditor: Auditor, market: Marketplace, order: Json, charge: Json
) -> None:
    await auditor.tamper_with_charge(charge, stripe_id="pi_unheard_of")

    await auditor.reports(
        ViolationCode.COMPLETED_WITHOUT_CAPTURE, ViolationCode.CAPTURED_TWICE, scope=Scope.FULL
    )


async def test_a_second_capture_for_a_completed_order_is_reported(
    auditor: Auditor, order: Json, charge: Json
) -> None:
    await auditor.authorize(order["id"], capture=True)

    await auditor.reports(ViolationCode.CAPTURED_TWICE)


async def test_a_refund_whose_webhook_was_missed_is_recorded(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json, charge: Json
) -> None:
    market.set_webhook_secret("whsec_of_somebody_else")
    await auditor.refund(charge["stripeId"])

    await auditor.repairs(ViolationCode.REFUND_NOT_RECORDED)

    refunded = await buyer.sees(order, "cancelled", "refunded")
    (refund,) = market.sandbox.refunds(charge["stripeId"])
    assert [c["stripeRefundId"] for c in refunded["charges"]] == [refund["id"]]


async def test_a_refund_is_recorded_only_if_a_second_look_sees_it_too(
    market: Marketplace, buyer: Person, order: Json, charge: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the questions to Temporal and to Stripe a seller may have asked for the refund."""
    activities = ReconciliationActivities(market.mongo, market.gateway, market.temporal)
    look = SnapshotReader.order_snapshot
    looks = 0

    async def look_just_then(self: SnapshotReader, *about: Any) -> OrderStateSnapshot:
        nonlocal looks
        looks += 1
        snapshot = await look(self, *about)
        if looks > 1:
            return replace(snapshot, refund=WorkflowFacts(WorkflowState.RUNNING))
        (intent,) = snapshot.intents or ()
        return replace(snapshot, intents=(replace(intent, amount_refunded=5000),))

    monkeypatch.setattr(SnapshotReader, "order_snapshot", look_just_then)

    found = await ActivityEnvironment().run(
        activities.examine_candidate, Candidate("order", order["id"])
    )

    assert (found, looks) == (ViolationCounts(reported=1), 2)
    await buyer.sees(order, "completed")


async def test_a_refund_in_part_is_no_violation(
    auditor: Auditor, market: Marketplace, charge: Json
) -> None:
    async with auditor.dashboard() as client:
        await client.v1.refunds.create_async({"payment_intent": charge["stripeId"], "amount": 100})

    await auditor.finds_nothing()


async def test_money_kept_for_a_cancelled_order_is_reported_until_it_is_given_back(
    auditor: Auditor, cancelled: Json
) -> None:
    intent_id = await auditor.authorize(cancelled["id"], capture=True)
    await auditor.reports(ViolationCode.CAPTURED_FOR_CANCELLED_ORDER)

    await auditor.refund(intent_id)
    await auditor.check()

    (violation,) = await ViolationRecord.find_all().to_list()
    assert violation.status is ViolationStatus.RESOLVED
    assert violation.resolved_at is not None
    assert (violation.intent_id, str(violation.order_id)) == (intent_id, cancelled["id"])


@pytest.mark.parametrize("payment_method", ["pm_card_visa", "pm_card_authenticationRequired", None])
async def test_an_authorization_for_a_cancelled_order_is_given_up(
    auditor: Auditor, cancelled: Json, payment_method: str | None
) -> None:
    intent_id = await auditor.authorize(cancelled["id"], payment_method)

    await auditor.repairs(ViolationCode.ABANDONED_AUTHORIZATION)

    assert auditor.status_at_stripe(intent_id) == "canceled"


async def test_a_second_authorization_for_a_completed_order_is_given_up(
    auditor: Auditor, order: Json, charge: Json
) -> None:
    intent_id = await auditor.authorize(order["id"])

    await auditor.repairs(ViolationCode.ABANDONED_AUTHORIZATION)

    assert auditor.status_at_stripe(intent_id) == "canceled"
    assert auditor.status_at_stripe(charge["stripeId"]) == "succeeded"


async def test_an_authorization_for_an_order_that_was_deleted_is_given_up(
    auditor: Auditor, cancelled: Json
) -> None:
    intent_id = await auditor.authorize(cancelled["id"])
    await Order.find_one({"_id": PydanticObjectId(cancelled["id"])}).delete()

    await auditor.repairs(ViolationCode.ABANDONED_AUTHORIZATION)

    assert auditor.status_at_stripe(intent_id) == "canceled"


async def test_an_authorization_that_may_be_another_installations_is_left_alone(
    auditor: Auditor,
) -> None:
    intent_id = await auditor.authorize(str(PydanticObjectId()))

    await auditor.reports(ViolationCode.AUTHORIZATION_OF_UNKNOWN_ORDER)

    assert auditor.status_at_stripe(intent_id) == "requires_capture"


async def test_money_kept_for_an_order_that_nobody_knows_is_reported(auditor: Auditor) -> None:
    await auditor.authorize(str(PydanticObjectId()), capture=True)

    await auditor.reports(ViolationCode.CAPTURED_FOR_UNKNOWN_ORDER)


async def test_somebody_elses_intents_are_nobodys_business(auditor: Auditor) -> None:
    await auditor.authorize("not-an-order-of-ours")

    await auditor.finds_nothing(Scope.FULL)


async def test_a_closed_order_whose_workflow_runs_is_reported(
    auditor: Auditor, ticket: Json, order: Json
) -> None:
    await auditor.tamper_with_order(
        order,
        status="cancelled",
        cancel_reason="expired",
        cancelled_at=utc_now() - LONG_AGO,
    )
    await auditor.tamper_with_ticket(ticket, order_id=None)

    await auditor.reports(ViolationCode.CLOSED_ORDER_WITH_WORKFLOW)


async def test_a_workflow_without_an_order_is_reported(
    auditor: Auditor, ticket: Json, order: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invariants, "GRACE", timedelta(0))
    await Order.find_one({"_id": PydanticObjectId(order["id"])}).delete()

    await auditor.reports(ViolationCode.WORKFLOW_WITHOUT_ORDER, ViolationCode.LOCK_WITHOUT_ORDER)


async def test_an_order_that_waits_long_past_its_deadline_is_reported(
    auditor: Auditor, order: Json
) -> None:
    await auditor.tamper_with_order(order, expires_at=utc_now() - LONG_AGO)

    await auditor.reports(ViolationCode.OVERDUE)


async def test_a_payment_that_never_ends_is_reported_with_what_stripe_says(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    charge = await buyer.pay_through_the_bank(order)
    await auditor.tamper_with_order(order, expires_at=utc_now() - LONG_AGO)

    await auditor.reports(ViolationCode.OVERDUE)

    (found,) = await ViolationRecord.find_all().to_list()
    assert f"{charge['stripeId']} is requires_action, 0 captured" in found.detail


async def test_a_payment_that_never_ends_is_reported_also_while_stripe_is_away(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    await buyer.pay_through_the_bank(order)
    await auditor.tamper_with_order(order, expires_at=utc_now() - LONG_AGO)
    market.sandbox.set_fault("error", method="GET", path="/v1/payment_intents/*", times=None)

    examined = await auditor.examine_candidate(order)

    assert examined.reported == 1
    assert await auditor.found() == {ViolationCode.OVERDUE: ViolationStatus.OPEN}


async def test_a_capture_by_hand_of_less_is_reported_and_ends_with_its_refund(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    market.sandbox.set_fault("held", method="POST", path="/v1/payment_intents/*/capture")
    paying = asyncio.create_task(buyer.pay(order))
    await eventually(lambda: market.sandbox.count("POST", "/v1/payment_intents/*/capture"))
    (intent,) = market.sandbox.payment_intents()
    async with auditor.dashboard() as stripe:
        await stripe.v1.payment_intents.capture_async(intent["id"], {"amount_to_capture": 100})
    market.sandbox.clear_faults()
    await paying
    await auditor.tamper_with_order(order, expires_at=utc_now() - LONG_AGO)

    await auditor.reports(ViolationCode.OVERDUE, ViolationCode.CAPTURED_ANOTHER_AMOUNT)
    await auditor.refund(intent["id"])

    await buyer.sees(order, "cancelled", "payment_failed")
    await auditor.check()
    assert set((await auditor.found()).values()) == {ViolationStatus.RESOLVED}
