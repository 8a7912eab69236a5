"""Payments over HTTP: taken, declined, pending and refused."""

import asyncio
from datetime import datetime, timedelta
from functools import partial

import pytest
from httpx import Response

from tests.api.conftest import assert_problem
from tests.purchases.contract import CHARGE, Json, assert_charge, instant
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually, until
from ticketing.workflow_ids import order_workflow_id
from workflows.orders import TAKES_PAYMENT_AT_ONCE

HURRIED = timedelta(milliseconds=100)
SHORT = timedelta(seconds=4)
"""Until a reservation ends; enough for what comes before, on a busy machine too."""


async def test_a_payment_is_answered_with_201_its_order_and_all_that_the_contract_names(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket(price=777))
    answer = await buyer.pay(order)

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/orders/{order['id']}"
    charge = assert_charge(answer.json())
    intent = market.intent_of(charge)
    assert charge == {
        "id": charge["id"],
        "orderId": order["id"],
        "status": "completed",
        "amount": 777,
        "currency": "usd",
        "stripeId": intent["id"],
        "stripeRefundId": None,
        "failureCode": None,
        "createdAt": charge["createdAt"],
    }
    assert (intent["status"], intent["amount_received"]) == ("succeeded", 777)
    assert intent["metadata"] == {"order_id": order["id"], "attempt": "1"}
    await market.is_consistent()


@pytest.mark.parametrize(
    ("payment_method", "decline_code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_nobody_has_heard_of", "resource_missing"),
    ],
)
async def test_a_declined_card_is_answered_with_402_and_the_banks_reason(
    market: Marketplace, seller: Person, buyer: Person, payment_method: str, decline_code: str
) -> None:
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    problem = assert_problem(await buyer.pay(order, payment_method), 402, "card_declined")

    assert problem["declineCode"] == decline_code
    cancelled = await buyer.order(order)
    assert (cancelled["status"], cancelled["cancelReason"]) == ("cancelled", "payment_failed")
    (charge,) = cancelled["charges"]
    assert (charge["status"], charge["failureCode"]) == ("failed", decline_code)
    assert (await seller.ticket(ticket))["status"] == "available"
    assert market.captured() == []
    assert all(intent["status"] == "canceled" for intent in market.sandbox.payment_intents())
    await market.is_consistent()


@pytest.mark.parametrize("loss", ["lost", "stolen"])
async def test_the_holder_of_a_stolen_card_does_not_learn_what_its_bank_knows(
    market: Marketplace, seller: Person, buyer: Person, loss: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    declined = await buyer.pay(order, f"pm_card_chargeDeclined{loss.title()}Card")

    assert assert_problem(declined, 402, "card_declined")["declineCode"] == "generic_decline"
    (charge,) = (await buyer.order(order))["charges"]
    assert charge["failureCode"] == "generic_decline"
    timeline = await buyer.http.get(f"/api/orders/{order['id']}/timeline")
    reasons = {item["code"]: item["reason"] for item in timeline.json()["items"]}
    assert reasons["payment_failed"] == "generic_decline"
    (kept,) = (await market.written())["charges"]
    assert kept["failure_code"] == f"{loss}_card"


async def test_with_attempts_left_a_declined_card_leaves_the_order_payable_with_another(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    market.set_rules(payment_attempts=2)
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    assert_problem(await buyer.pay(order, "pm_card_chargeDeclined"), 402, "card_declined")

    waiting = await buyer.order(order)
    assert (waiting["status"], waiting["expiresAt"]) == ("created", order["expiresAt"])
    assert_problem(await other_buyer.ask_for(ticket), 409, "ticket_reserved")
    paid = await buyer.buy(order)

    completed = await buyer.order(order)
    assert completed["status"] == "completed"
    assert [charge["status"] for charge in completed["charges"]] == ["failed", "completed"]
    assert completed["charges"][1] == paid
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_after_the_last_attempt_is_declined_the_order_is_cancelled(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(payment_attempts=2)
    order = await buyer.reserve(await seller.list_ticket())
    for decline in ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"):
        assert_problem(await buyer.pay(order, decline), 402, "card_declined")
    cancelled = await buyer.order(order)
    assert (cancelled["status"], cancelled["cancelReason"]) == ("cancelled", "payment_failed")
    assert_problem(await buyer.pay(order), 409, "order_cancelled")
    await market.is_consistent()


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/payment_intents/*/capture"])
async def test_a_payment_that_stripe_decides_late_is_answered_202_and_completes(
    market: Marketplace, seller: Person, buyer: Person, path: str
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("held", method="POST", path=path)
    order = await buyer.reserve(await seller.list_ticket())
    answer = await buyer.pay(order)

    pending = _assert_pending(answer, order)
    again = await buyer.pay(order)
    market.sandbox.clear_faults()
    completed = await buyer.sees(order, "completed")

    assert_problem(again, 409, "payment_in_progress")
    (charge,) = completed["charges"]
    assert (charge["id"], charge["status"]) == (pending["id"], "completed")
    assert market.captured() == [order["ticket"]["price"]]
    await market.is_consistent()


async def test_a_payment_that_stripe_declines_after_the_answer_shows_in_the_order(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    order = await buyer.reserve(await seller.list_ticket())
    pending = _assert_pending(await buyer.pay(order, "pm_card_chargeDeclined"), order)
    market.sandbox.clear_faults()
    cancelled = await buyer.sees(order, "cancelled", "payment_failed")
    (charge,) = cancelled["charges"]
    assert (charge["id"], charge["failureCode"]) == (pending["id"], "generic_decline")
    await market.is_consistent()


async def test_while_stripe_decides_the_order_cannot_be_cancelled_nor_the_ticket_reserved(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    ticket = await seller.list_ticket()
    order = await buyer.reserve(ticket)
    _assert_pending(await buyer.pay(order), order)
    refusals = await asyncio.gather(buyer.cancel(order), other_buyer.ask_for(ticket))
    market.sandbox.clear_faults()
    await buyer.sees(order, "completed")

    assert_problem(refusals[0], 409, "payment_in_progress")
    assert_problem(refusals[1], 409, "ticket_reserved")
    await market.is_consistent()


async def test_a_payment_in_time_completes_though_stripe_answers_too_late(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    market.set_rules(reservation_ttl=SHORT)
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    order = await buyer.reserve(await seller.list_ticket())
    payment = asyncio.create_task(buyer.buy(order))
    await eventually(lambda: market.sandbox.count("POST", "/v1/payment_intents"))
    await until(datetime.fromisoformat(order["expiresAt"]))
    market.sandbox.clear_faults()
    await payment
    completed = await buyer.order(order)
    assert instant(completed["completedAt"]) > instant(order["expiresAt"])
    await market.is_consistent()


async def test_a_completed_order_cannot_be_paid_again(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)
    before = await market.written()
    await market.lose_temporal()
    assert_problem(await buyer.pay(order), 409, "order_completed")
    assert await market.written() == before
    assert len(market.sandbox.payment_intents()) == 1


async def test_a_cancelled_order_cannot_be_paid(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.cancel(order)
    before = await market.written()
    await market.lose_temporal()
    assert_problem(await buyer.pay(order), 409, "order_cancelled")
    assert await market.written() == before
    assert market.sandbox.payment_intents() == []


async def test_an_order_past_its_deadline_cannot_be_paid_even_before_it_is_cancelled(
    idle_market: Marketplace, seller: Person, buyer: Person
) -> None:
    idle_market.set_rules(reservation_ttl=SHORT)
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    # No worker is there any more that could cancel it.
    before = await idle_market.written()
    await until(datetime.fromisoformat(order["expiresAt"]))
    assert_problem(await buyer.pay(order), 409, "order_expired")
    assert (await buyer.order(order))["status"] == "created"
    assert await idle_market.written() == before

    async with idle_market.working():
        await buyer.sees(order, "cancelled", "expired")
    assert idle_market.sandbox.payment_intents() == []


async def test_two_tickets_are_two_orders_each_charged_once(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    orders = [await buyer.reserve(await seller.list_ticket(price=p)) for p in (1000, 2000)]
    charges = await asyncio.gather(*(buyer.buy(order) for order in orders))
    assert [charge["amount"] for charge in charges] == [1000, 2000]
    assert sorted(market.captured()) == [1000, 2000]
    await market.is_consistent()


def _assert_pending(answer: Response, order: Json) -> Json:
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/orders/{order['id']}"
    charge: Json = answer.json()
    assert charge.keys() == CHARGE
    assert (charge["orderId"], charge["status"]) == (order["id"], "created")
    assert (charge["amount"], charge["currency"]) == (order["ticket"]["price"], "usd")
    assert charge["failureCode"] is None
    return charge


async def test_an_operator_finds_the_order_by_what_stripes_dashboard_shows(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.buy(order)

    for query in (
        f'PaymentIntentId = "{charge["stripeId"]}"',
        f'TemporalChangeVersion = "{TAKES_PAYMENT_AT_ONCE}" AND TicketId = "{order["ticketId"]}"',
    ):
        assert await eventually(partial(_found, market, query)) == [order_workflow_id(order["id"])]


async def _found(market: Marketplace, query: str) -> list[str]:
    return [execution.id async for execution in market.temporal.list_workflows(query)]
