"""Orders whose workflow is gone are closed: completed where they were paid, else cancelled."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from beanie import PydanticObjectId
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.reconciliation.activities import ReconciliationActivities
from activities.reconciliation.repairs import Repairs
from activities.reconciliation.snapshots import SnapshotReader
from activities.reconciliation.violations import Candidate
from tests.purchases import careless
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.reconciliation.auditor import Auditor
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.invariants import UNKNOWN_WORKFLOW_GRACE, ViolationCode
from ticketing.models import Order, ViolationStatus
from ticketing.statuses import OrderStatus
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import PAYMENT_INTENT_CHANGED, PaymentIntentChanged

ABANDONED = ViolationCode.OPEN_ORDER_WITHOUT_WORKFLOW


@pytest.fixture
async def ticket(seller: Person) -> Json:
    return await seller.list_ticket()


@pytest.fixture
async def order(buyer: Person, ticket: Json) -> Json:
    """An order that waits for its payment."""
    return await buyer.reserve(ticket)


async def test_an_unpaid_order_whose_workflow_was_terminated_is_cancelled(
    auditor: Auditor, market: Marketplace, seller: Person, buyer: Person, ticket: Json, order: Json
) -> None:
    await market.terminate(order)

    await auditor.repairs(ABANDONED)

    await buyer.sees(order, "cancelled", "cancelled_by_operator")
    assert (await seller.ticket(ticket))["status"] == "available"
    await market.is_consistent()


async def test_past_its_deadline_it_has_expired(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    await market.terminate(order)
    await auditor.tamper_with_order(order, expires_at=utc_now() - timedelta(seconds=1))

    await auditor.repairs(ABANDONED)

    await buyer.sees(order, "cancelled", "expired")


async def test_an_order_that_temporal_has_forgotten_is_cancelled_long_after_its_deadline(
    auditor: Auditor, market: Marketplace, ticket: Json, order: Json
) -> None:
    await market.terminate(order)
    found = await Order.get(order["id"])
    assert found is not None
    await found.delete()
    found.id = PydanticObjectId()
    await found.insert()
    await auditor.tamper_with_ticket(ticket, order_id=found.id)

    await auditor.reports(ABANDONED)

    await auditor.tamper(Order, found.id, expires_at=utc_now() - UNKNOWN_WORKFLOW_GRACE)
    await auditor.check()
    assert await auditor.found() == {ABANDONED: ViolationStatus.REPAIRED}


async def test_a_check_in_the_wrong_namespace_closes_no_healthy_order(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    """A worker was pointed at another namespace, or at an empty server, and checks from there."""
    charge = await buyer.pay_through_the_bank(order)
    elsewhere = market.temporal.config() | {"namespace": "temporal-system"}
    checks = ReconciliationActivities(market.mongo, market.gateway, Client(**elsewhere))

    found = await ActivityEnvironment().run(
        checks.examine_candidate, Candidate("order", order["id"])
    )

    assert (found.reported, found.repaired) == (1, 0)
    market.sandbox.authenticate(charge["stripeId"], approve=True)
    await buyer.sees(order, "completed")


async def test_a_payment_that_waited_for_the_bank_is_given_up(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    charge = await buyer.pay_through_the_bank(order)
    await market.terminate(order)

    await auditor.repairs(ABANDONED)

    closed = await buyer.sees(order, "cancelled", "cancelled_by_operator")
    assert [c["status"] for c in closed["charges"]] == ["failed"]
    assert market.intent_of(charge)["status"] == "canceled"
    await market.is_consistent()


async def test_a_buyer_who_authenticated_in_vain_gets_the_money_back(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    charge = await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    market.sandbox.authenticate(charge["stripeId"], approve=True)
    assert market.intent_of(charge)["status"] == "requires_capture"

    await auditor.repairs(ABANDONED)

    assert market.intent_of(charge)["status"] == "canceled"
    assert market.captured() == []


async def test_an_intent_that_the_charge_does_not_name_yet_is_given_up(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    charge = await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    await auditor.tamper_with_charge(charge, stripe_id=None)

    await auditor.repairs(ABANDONED)

    assert market.intent_of(charge)["status"] == "canceled"
    await market.is_consistent()


async def test_an_intent_that_stripe_made_hours_late_is_given_up_before_the_ticket_is(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    """Stripe could not be reached for hours, and the reservation lasted until it answered."""
    charge = await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    await auditor.tamper_with_charge(charge, stripe_id=None)
    begun_at = utc_now() - timedelta(hours=3)
    await auditor.tamper_with_order(
        order, created_at=begun_at, expires_at=begun_at + timedelta(minutes=15)
    )

    await auditor.repairs(ABANDONED)

    assert market.intent_of(charge)["status"] == "canceled"


@pytest.mark.parametrize("is_named", [True, False])
async def test_an_order_whose_money_was_taken_is_completed(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json, is_named: bool
) -> None:
    charge = await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    market.sandbox.authenticate(charge["stripeId"], approve=True)
    async with auditor.dashboard() as client:
        await client.v1.payment_intents.capture_async(charge["stripeId"])
    if not is_named:
        await auditor.tamper_with_charge(charge, stripe_id=None)

    await auditor.repairs(ABANDONED)

    closed = await buyer.sees(order, "completed")
    assert [(c["status"], c["stripeId"]) for c in closed["charges"]] == [
        ("completed", charge["stripeId"])
    ]
    await market.is_consistent()


async def test_money_taken_in_another_amount_is_left_to_an_operator(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    charge = await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    market.sandbox.authenticate(charge["stripeId"], approve=True)
    async with auditor.dashboard() as client:
        await client.v1.payment_intents.capture_async(
            charge["stripeId"], {"amount_to_capture": 4000}
        )

    await auditor.reports(ABANDONED)


async def test_while_stripe_does_not_answer_nothing_is_released(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    await buyer.pay_through_the_bank(order)
    await market.terminate(order)
    market.sandbox.set_fault("error", path="/v1/payment_intents/*/cancel", times=1, status=503)
    market.sandbox.set_fault("lost_answer", path="/v1/payment_intents/*/cancel", times=1)

    await auditor.repairs(ABANDONED)

    await market.is_consistent()


async def test_two_checks_at_once_do_no_harm(
    auditor: Auditor, market: Marketplace, buyer: Person, other_buyer: Person, seller: Person
) -> None:
    for _ in range(3):
        order = await buyer.reserve(await seller.list_ticket())
        await buyer.pay_through_the_bank(order)
        await market.terminate(order)

    await asyncio.gather(*(auditor.check() for _ in range(4)))

    assert await auditor.found() == {ABANDONED: ViolationStatus.REPAIRED}
    assert market.captured() == []
    await market.is_consistent()


async def test_an_order_whose_workflow_runs_is_left_to_it(
    auditor: Auditor, market: Marketplace, buyer: Person, order: Json
) -> None:
    charge = await buyer.pay_through_the_bank(order)

    await auditor.finds_nothing()

    market.sandbox.authenticate(charge["stripeId"], approve=True)
    await buyer.sees(order, "completed")


async def test_a_repair_that_comes_too_late_changes_nothing(
    market: Marketplace, buyer: Person, order: Json
) -> None:
    """The facts were gathered, and then the order was completed: somebody reset its workflow."""
    charge = await buyer.pay_through_the_bank(order)
    reader = SnapshotReader(market.mongo, market.gateway, market.temporal)
    (snapshot,) = await reader.with_their_intents([await reader.order_snapshot(order["id"], [])])
    market.sandbox.authenticate(charge["stripeId"], approve=True)
    await buyer.sees(order, "completed")

    assert await Repairs(market.mongo, market.gateway).close_order(snapshot)

    await buyer.sees(order, "completed")
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_a_repair_and_the_workflow_at_the_same_instant_agree(
    market: Marketplace, buyer: Person, seller: Person
) -> None:
    """Whoever is first at Stripe decides; the other one follows."""
    reader = SnapshotReader(market.mongo, market.gateway, market.temporal)
    repairs = Repairs(market.mongo, market.gateway)
    for _ in range(8):
        order = await buyer.reserve(await seller.list_ticket())
        charge = await buyer.pay_through_the_bank(order)
        (snapshot,) = await reader.with_their_intents(
            [await reader.order_snapshot(order["id"], [])]
        )
        market.sandbox.authenticate(charge["stripeId"], approve=True)

        await repairs.close_order(snapshot)

        await eventually(partial(_is_closed, order["id"]))
    await market.is_consistent()


async def _is_closed(order_id: str) -> bool:
    order = await Order.get(order_id)
    return order is not None and order.status.is_closed


async def test_control_without_asking_stripe_money_is_taken_for_a_cancelled_order(
    idle_market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = idle_market
    careless.trust_history(monkeypatch, market.gateway)  # the fence would be in the way
    async with market.working():
        order = await buyer.reserve(await seller.list_ticket())
        charge = await buyer.pay_through_the_bank(order)
        reader = SnapshotReader(market.mongo, market.gateway, market.temporal)
        snapshot = await reader.order_snapshot(order["id"], [])
        assert snapshot.intents is None  # its workflow runs

        await Repairs(market.mongo, market.gateway).close_order(snapshot)
        market.sandbox.authenticate(charge["stripeId"], approve=True)
        # The workflow asks Stripe at its deadline, or now: of a closed order it is told no news.
        await market.temporal.get_workflow_handle(order_workflow_id(order["id"])).signal(
            PAYMENT_INTENT_CHANGED, PaymentIntentChanged(charge["stripeId"])
        )
        await eventually(lambda: market.captured() == [5000])

        found = await Order.get(order["id"])
        assert found is not None
        assert found.status is OrderStatus.CANCELLED
