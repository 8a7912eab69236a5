"""Payments for which the bank wants the buyer: approved, refused, abandoned, and told or not."""

import asyncio
from datetime import timedelta

import pytest
import stripe
from temporalio import activity

from activities.orders import BeginPayment
from activities.payments import PaymentActivities, TakenPayment
from stripe_sandbox.testing import stripe_client
from tests.api.conftest import assert_problem
from tests.purchases.contract import Json, instant
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing.workflow_ids import order_workflow_id

SHORT = timedelta(seconds=5)
"""A reservation that a test can wait out; everything before the wait takes a fraction of it."""
LOST = "http://127.0.0.1:1/"
"""Where no webhook arrives."""


async def test_the_buyer_gets_a_client_secret_approves_and_owns_the_ticket(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    charge = await buyer.pay_through_the_bank(order)

    intent = market.intent_of(charge)
    assert charge["clientSecret"] == intent["client_secret"]
    assert (charge["orderId"], charge["status"]) == (order["id"], "created")
    waiting = await buyer.order(order)
    assert waiting["status"] == "awaiting_payment"
    assert waiting["charges"] == [{k: v for k, v in charge.items() if k != "clientSecret"}]
    assert market.captured() == []

    market.sandbox.authenticate(intent["id"])
    completed = await buyer.sees(order, "completed")
    (paid,) = completed["charges"]
    assert (paid["id"], paid["status"]) == (charge["id"], "completed")
    assert (await seller.ticket(ticket))["status"] == "sold"
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_the_202_names_the_order(market: Marketplace, seller: Person, buyer: Person) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    answer = await buyer.pay(order, "pm_card_authenticationRequired")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/orders/{order['id']}"


async def test_the_bank_refuses_the_buyer_and_the_order_is_cancelled(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"], approve=False)

    cancelled = await buyer.sees(order, "cancelled", "payment_failed")
    (failed,) = cancelled["charges"]
    assert failed["failureCode"] == "payment_intent_authentication_failure"
    assert market.intent_of(charge)["status"] == "canceled"
    await other_buyer.reserve(ticket)
    assert market.captured() == []
    await market.is_consistent()


async def test_with_attempts_left_a_refusal_of_the_bank_leaves_the_order_payable(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(payment_attempts=2)
    order = await buyer.reserve(await seller.list_ticket())
    first = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(first["stripeId"], approve=False)
    await buyer.sees(order, "created")
    second = await buyer.pay_through_the_bank(order)
    assert second["stripeId"] != first["stripeId"]
    market.sandbox.authenticate(second["stripeId"])
    await buyer.sees(order, "completed")
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_an_abandoned_authentication_expires_and_can_never_be_paid(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    market.set_rules(reservation_ttl=SHORT)
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    charge = await buyer.pay_through_the_bank(order)

    expired = await buyer.sees(order, "cancelled", "expired")
    assert [failed["failureCode"] for failed in expired["charges"]] == ["expired"]
    assert market.intent_of(charge)["status"] == "canceled"
    await _cannot_be_paid_any_more(market, charge)
    await market.webhooks_are_delivered()
    assert (await buyer.order(order)) == expired
    await other_buyer.reserve(ticket)
    await market.is_consistent()


async def test_an_approval_whose_webhook_is_lost_is_found_at_the_deadline_and_completes(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(reservation_ttl=SHORT)
    market.sandbox.deliver_webhooks_to(LOST, "whsec_lost")
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"])

    completed = await buyer.sees(order, "completed")
    assert instant(completed["completedAt"]) >= instant(order["expiresAt"])
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_an_approval_whose_webhook_is_lost_counts_more_than_a_cancellation(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.sandbox.deliver_webhooks_to(LOST, "whsec_lost")
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"])
    assert_problem(await buyer.cancel(order), 409, "order_completed")
    assert (await buyer.order(order))["status"] == "completed"
    await market.is_consistent()


async def test_during_authentication_a_second_payment_is_refused(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.pay_through_the_bank(order)
    before = await market.written()
    assert_problem(await buyer.pay(order), 409, "payment_in_progress")
    assert await market.written() == before
    assert len(market.sandbox.payment_intents()) == 1


async def test_during_authentication_the_buyer_may_cancel_and_the_intent_is_given_up_first(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    charge = await buyer.pay_through_the_bank(order)
    answer = await buyer.cancel(order)

    assert answer.status_code == 200
    assert answer.json()["cancelReason"] == "cancelled_by_buyer"
    assert [failed["status"] for failed in answer.json()["charges"]] == ["failed"]
    assert market.intent_of(charge)["status"] == "canceled"
    await _cannot_be_paid_any_more(market, charge)
    await other_buyer.buy(await other_buyer.reserve(ticket))
    await market.is_consistent()


async def test_a_ticket_stays_reserved_until_stripe_has_answered_the_cancellation(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.set_fault("error", path="/v1/payment_intents/*/cancel", times=None)

    async def is_asked_in_vain() -> bool:
        return market.sandbox.count("POST", "/v1/payment_intents/*/cancel") >= 1

    cancelled = asyncio.create_task(buyer.cancel(order))
    await eventually(is_asked_in_vain)
    assert_problem(await other_buyer.ask_for(ticket), 409, "ticket_reserved")
    market.sandbox.clear_faults()
    assert (await cancelled).status_code == 200
    assert market.intent_of(charge)["status"] == "canceled"
    await market.is_consistent()


async def _cannot_be_paid_any_more(market: Marketplace, charge: Json) -> None:
    with pytest.raises(ValueError, match="canceled"):
        market.sandbox.authenticate(charge["stripeId"])
    async with stripe_client(market.sandbox.url) as client:
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await client.v1.payment_intents.confirm_async(
                charge["stripeId"], {"payment_method": "pm_card_visa"}
            )
    assert refused.value.code == "payment_intent_unexpected_state"
    assert market.captured() == []


async def test_who_has_just_been_sent_to_the_bank_can_cancel(
    idle_market: Marketplace, seller: Person, buyer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_payment, is_cancelling = PaymentActivities.take_payment, asyncio.Event()

    class Lingering(PaymentActivities):
        @activity.defn
        async def take_payment(self, input: BeginPayment) -> TakenPayment:
            taken = await take_payment(self, input)
            await is_cancelling.wait()
            return taken

    monkeypatch.setattr(PaymentActivities, "take_payment", Lingering.take_payment)
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
        await buyer.pay_through_the_bank(order)
        workflow = idle_market.temporal.get_workflow_handle(order_workflow_id(order["id"]))

        async def is_asked_for_the_decision() -> bool:
            events = (await workflow.fetch_history()).events
            return "await_payment_decision" in {
                event.workflow_execution_update_accepted_event_attributes.accepted_request.input.name
                for event in events
            }

        answer = asyncio.create_task(buyer.cancel(order))
        await eventually(is_asked_for_the_decision)
        is_cancelling.set()
        assert (await answer).json()["cancelReason"] == "cancelled_by_buyer"
        assert idle_market.captured() == []
        await idle_market.is_consistent()
