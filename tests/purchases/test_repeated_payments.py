"""Payments submitted more than once under one Idempotency-Key."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from activities import orders
from tests.api.conftest import assert_problem
from tests.purchases import careless
from tests.purchases.contract import Json, assert_charge
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually, until
from ticketing.models import Charge
from ticketing.statuses import ChargeStatus

CROWD = 20
AUTHORIZE = "/v1/payment_intents"
HURRIED = timedelta(milliseconds=100)
SHORT = timedelta(seconds=5)
"""A reservation that a test can wait out; everything before the wait takes a fraction of it."""


@pytest.fixture
def key() -> str:
    return f'"{uuid4()}"'


async def test_the_same_key_gets_the_first_answer_again_and_is_charged_once(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    first = await buyer.pay(order, key=key)
    before = await market.written()
    await market.lose_temporal()
    again = await buyer.pay(order, key=key)

    assert first.status_code == 201, first.text
    assert (again.status_code, again.json()) == (201, assert_charge(first.json()))
    assert again.headers["Location"] == first.headers["Location"]
    assert await market.written() == before
    assert len(market.sandbox.payment_intents()) == 1
    await market.is_consistent()


async def test_without_a_key_the_second_payment_is_one_of_its_own(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    await buyer.buy(order)
    assert_problem(await buyer.pay(order), 409, "order_completed")


async def test_twenty_payments_at_once_under_one_key_are_one_capture(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    elsewhere = buyer.at(market.visit(await market.open_api()))
    order = await buyer.reserve(await seller.list_ticket())
    doors = [buyer, elsewhere] * (CROWD // 2)
    answers = await asyncio.gather(*(door.pay(order, key=key) for door in doors))

    paid = [answer.json() for answer in answers if answer.status_code == 201]
    assert paid
    for answer in answers:
        if answer.status_code == 201:
            assert answer.json() == paid[0]
        else:
            assert_problem(answer, 409, "request_in_progress")
    assert market.captured() == [5000]
    assert len(market.sandbox.payment_intents()) == 1
    assert (await buyer.order(order))["charges"] == [paid[0]]
    await market.is_consistent()


async def test_control_without_a_key_all_payments_but_one_are_refused(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    answers = await asyncio.gather(*(buyer.pay(order) for _ in range(CROWD)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CROWD - 1}
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes <= {"payment_in_progress", "order_completed"}


async def test_while_stripe_decides_the_same_key_is_told_to_wait(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path=AUTHORIZE, times=None)
    order = await buyer.reserve(await seller.list_ticket())
    pending = await buyer.pay(order, key=key)
    await buyer.sees(order, "awaiting_payment")
    again = await buyer.pay(order, key=key)
    market.sandbox.clear_faults()
    completed = await buyer.sees(order, "completed")

    assert pending.status_code == 202, pending.text
    assert_problem(again, 409, "request_in_progress")
    assert int(again.headers["Retry-After"]) > 0
    answer = await buyer.pay(order, key=key)
    assert (answer.status_code, [answer.json()]) == (201, completed["charges"])
    assert answer.json()["id"] == pending.json()["id"]
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_a_declined_payment_stays_declined_whatever_becomes_of_its_order(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    market.set_rules(payment_attempts=2)
    order = await buyer.reserve(await seller.list_ticket())
    declined = "pm_card_chargeDeclinedInsufficientFunds"
    first = assert_problem(await buyer.pay(order, declined, key=key), 402, "card_declined")
    assert first["declineCode"] == "insufficient_funds"
    for become in (None, buyer.buy):
        if become is not None:
            await become(order)
        again = await buyer.pay(order, declined, key=key)
        assert assert_problem(again, 402, "card_declined") == first
    assert market.captured() == [5000]
    await market.is_consistent()


@pytest.mark.long
async def test_a_declined_payment_stays_declined_after_its_order_has_expired(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    market.set_rules(payment_attempts=2, reservation_ttl=SHORT)
    order = await buyer.reserve(await seller.list_ticket())
    declined = partial(buyer.pay, order, "pm_card_chargeDeclined", key=key)
    first = assert_problem(await declined(), 402, "card_declined")
    await buyer.sees(order, "cancelled", "expired")
    assert assert_problem(await declined(), 402, "card_declined") == first


async def test_a_lost_client_secret_is_asked_for_again_with_the_same_key(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    through_the_bank = partial(buyer.pay, order, "pm_card_authenticationRequired", key=key)
    first = await through_the_bank()
    for _ in range(2):
        again = await through_the_bank()
        assert (again.status_code, again.json()) == (202, first.json())
    assert first.json()["clientSecret"]
    assert_problem(await buyer.pay(order), 409, "payment_in_progress")

    market.sandbox.authenticate(first.json()["stripeId"])
    completed = await buyer.sees(order, "completed")
    answer = await through_the_bank()
    assert (answer.status_code, [answer.json()]) == (201, completed["charges"])
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_a_payment_given_up_with_its_order_is_answered_with_what_ended_the_order(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    market.set_rules(reservation_ttl=SHORT)
    orders = [await buyer.reserve(await seller.list_ticket()) for _ in range(2)]
    for number, order in enumerate(orders):
        answer = await buyer.pay(order, "pm_card_authenticationRequired", key=f"{number}")
        assert answer.status_code == 202, answer.text
    assert (await buyer.cancel(orders[0])).status_code == 200
    await buyer.sees(orders[1], "cancelled", "expired")
    for number, code in enumerate(["order_cancelled", "order_expired"]):
        answer = await buyer.pay(orders[number], "pm_card_authenticationRequired", key=f"{number}")
        assert_problem(answer, 409, code)


async def test_the_same_key_with_another_payment_is_refused_and_charges_nothing(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    other = await buyer.reserve(await seller.list_ticket())
    await buyer.pay(order, key=key)
    before = await market.written()
    for answer in (
        await buyer.pay(order, "pm_card_mastercard", key=key),
        await buyer.pay(other, key=key),
        await buyer.pay({"id": "0" * 24}, key=key),
    ):
        assert_problem(answer, 422, "idempotency_key_reused")
    assert await market.written() == before
    assert market.captured() == [5000]
    await buyer.buy(other)
    await market.is_consistent()


async def test_another_card_at_the_same_instant_under_one_key_is_refused(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    cards = ("pm_card_visa", "pm_card_mastercard")
    answers = await asyncio.gather(*(buyer.pay(order, card, key=key) for card in cards))
    first, second = sorted(answers, key=lambda answer: answer.status_code)
    assert first.status_code == 201, first.text
    assert_problem(second, 422, "idempotency_key_reused")
    assert market.captured() == [5000]
    await market.is_consistent()


async def test_two_orders_at_the_same_instant_under_one_key_are_not_paid_by_one_charge(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    orders = await _submit_for_two_orders(idle_market, seller, buyer, key)
    async with idle_market.working():
        paid, other = await _one_completed(buyer, orders)
        answer = await buyer.pay(paid, key=key)
        assert (answer.status_code, answer.json()["orderId"]) == (201, paid["id"])
        assert_problem(await buyer.pay(other, key=key), 422, "idempotency_key_reused")
        assert idle_market.captured() == [5000]
        await buyer.buy(other)
        assert idle_market.captured() == [5000, 5000]
        await idle_market.is_consistent()


async def test_control_without_the_guard_money_is_taken_for_an_order_that_has_no_charge(
    idle_market: Marketplace,
    seller: Person,
    buyer: Person,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_begun_for_any_order(charge: Charge, _order_id: object) -> bool:
        return charge.status is ChargeStatus.CREATED

    monkeypatch.setattr(orders, "is_begun", is_begun_for_any_order)
    careless.trust_history(monkeypatch, idle_market.gateway)
    idle_market.sandbox.set_fault("held", path=AUTHORIZE, times=None)
    reserved = await _submit_for_two_orders(idle_market, seller, buyer, key)
    async with idle_market.working():
        await eventually(lambda: idle_market.sandbox.count("POST", AUTHORIZE) == 2)
        idle_market.sandbox.clear_faults()
        await eventually(lambda: idle_market.captured() == [5000, 5000])
        assert len((await idle_market.written())["charges"]) == 1
        _completed, other = await _one_completed(buyer, reserved)
        # What cannot be put right is repeated until somebody has looked.
        await idle_market.terminate(other)


async def test_a_payment_whose_api_dies_before_the_answer_is_charged_once(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    elsewhere = buyer.at(idle_market.visit(await idle_market.open_api()))
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    asked = asyncio.create_task(buyer.pay(order, key=key))
    await eventually(lambda: _is_submitted(idle_market, order))
    asked.cancel()
    async with idle_market.working():
        answer = await elsewhere.pay(order, key=key)
        assert answer.status_code == 201, answer.text
        assert (await buyer.order(order))["charges"] == [answer.json()]
        assert idle_market.captured() == [5000]
        await idle_market.is_consistent()


@pytest.mark.long
async def test_a_payment_submitted_in_time_is_never_told_that_it_came_too_late(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    idle_market.set_rules(reservation_ttl=SHORT, payment_wait=HURRIED)
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    assert (await buyer.pay(order, key=key)).status_code == 202
    await until(datetime.fromisoformat(order["expiresAt"]))
    assert_problem(await buyer.pay(order, key=key), 409, "request_in_progress")
    async with idle_market.working():
        await buyer.sees(order, "completed")
        answer = await buyer.pay(order, key=key)
        assert answer.status_code == 201, answer.text
        assert idle_market.captured() == [5000]
        await idle_market.is_consistent()


async def test_a_payment_that_comes_too_late_is_refused_and_never_submitted(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    idle_market.set_rules(reservation_ttl=SHORT, payment_wait=HURRIED)
    async with idle_market.working():
        order = await buyer.reserve(await seller.list_ticket())
    await until(datetime.fromisoformat(order["expiresAt"]))
    assert_problem(await buyer.pay(order, key=key), 409, "request_in_progress")
    assert await idle_market.times_signalled(order, "payment_submitted") == 0
    async with idle_market.working():
        await buyer.sees(order, "cancelled", "expired")
        assert_problem(await buyer.pay(order, key=key), 409, "order_expired")
    assert idle_market.captured() == []


async def test_one_key_serves_an_order_and_its_payment_and_two_people(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, key: str
) -> None:
    for person in (buyer, other_buyer):
        order = await person.ask_for(await seller.list_ticket(), key=key)
        assert order.status_code == 201, order.text
        payment = await person.pay(order.json(), key=key)
        assert payment.status_code == 201, payment.text
        assert payment.json()["id"] != order.json()["id"]
    assert market.captured() == [5000, 5000]
    await market.is_consistent()


async def test_somebody_elses_order_cannot_be_paid_with_a_key_either(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, key: str
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    assert_problem(await other_buyer.pay(order, key=key), 404, "order_not_found")
    await buyer.pay(order, key=key)
    assert_problem(await other_buyer.pay(order, key=key), 404, "order_not_found")


async def _submit_for_two_orders(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> list[Json]:
    """Two orders whose payments, under one key, wait for a worker."""
    market.set_rules(payment_wait=HURRIED)
    async with market.working():
        orders = [await buyer.reserve(await seller.list_ticket()) for _ in range(2)]
    for order in orders:
        assert (await buyer.pay(order, key=key)).status_code == 202
    market.set_rules(payment_wait=timedelta(seconds=10))
    return orders


async def _one_completed(buyer: Person, orders: list[Json]) -> list[Json]:
    """The orders, as soon as one is completed: that one first."""

    async def completed_first() -> list[Json]:
        now = [await buyer.order(order) for order in orders]
        now.sort(key=lambda order: str(order["status"]))
        return now if [order["status"] for order in now] == ["completed", "created"] else []

    return await eventually(completed_first)


async def _is_submitted(market: Marketplace, order: Json) -> bool:
    return await market.times_signalled(order, "payment_submitted") == 1
