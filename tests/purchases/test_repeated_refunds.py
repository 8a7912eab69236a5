"""Refunds asked for more than once under one Idempotency-Key."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.api.conftest import assert_problem
from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.waiting import eventually
from ticketing.models import Order
from ticketing.statuses import TimelineCode

REFUNDS = "/v1/refunds"
HURRIED = timedelta(seconds=0.2)


@pytest.fixture
def key() -> str:
    return f'"{uuid4()}"'


async def bought(seller: Person, buyer: Person, payment_method: str = "pm_card_visa") -> Json:
    """A completed order."""
    order = await buyer.reserve(await seller.list_ticket())
    answer = await buyer.pay(order, payment_method)
    assert answer.status_code == 201, answer.text
    return order


async def times_requested(order: Json) -> int:
    found = await Order.get(order["id"])
    assert found is not None
    return [entry.code for entry in found.timeline].count(TimelineCode.REFUND_REQUESTED)


async def test_the_same_key_gets_the_first_answer_again_and_one_refund_is_made(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await bought(seller, buyer)
    first = await seller.refund(order, key=key, relist=True)
    before = await market.written()
    again = await seller.refund(order, key=key, relist=True)

    assert first.status_code == 200, first.text
    assert (again.status_code, again.json()) == (200, first.json())
    assert await market.written() == before
    assert market.sandbox.count("POST", REFUNDS) == 1
    await market.is_consistent()


async def test_while_stripe_is_silent_the_same_key_is_told_to_wait(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await bought(seller, buyer)
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path=REFUNDS, times=None)

    assert (await seller.refund(order, key=key)).status_code == 202
    again = await seller.refund(order, key=key)
    assert_problem(again, 409, "request_in_progress")
    assert int(again.headers["Retry-After"]) > 0
    assert (await seller.refund(order)).status_code == 202

    market.sandbox.clear_faults()
    await buyer.sees(order, "cancelled", "refunded")
    assert (await seller.refund(order, key=key)).status_code == 200
    await market.is_consistent()


async def test_the_same_key_with_another_wish_for_the_ticket_is_refused(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await bought(seller, buyer)
    market.set_rules(payment_wait=HURRIED)
    market.sandbox.set_fault("lost_request", method="POST", path=REFUNDS, times=None)
    assert (await seller.refund(order, key=key, relist=True)).status_code == 202
    answer = await seller.refund(order, key=key, relist=False)
    assert_problem(answer, 422, "idempotency_key_reused")

    market.sandbox.clear_faults()
    await buyer.sees(order, "cancelled", "refunded")
    answer = await seller.refund(order, key=key, relist=False)
    assert_problem(answer, 422, "idempotency_key_reused")
    assert (await seller.refund(order, relist=False)).status_code == 200


async def test_two_wishes_at_the_same_instant_under_one_key_are_one_refund(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await bought(seller, buyer)
    answers = await asyncio.gather(
        *(seller.refund(order, key=key, relist=relist) for relist in (True, False))
    )
    first, second = sorted(answers, key=lambda answer: answer.status_code)
    assert first.status_code == 200, first.text
    assert_problem(second, 422, "idempotency_key_reused")
    assert market.sandbox.count("POST", REFUNDS) == 1
    await market.is_consistent()


async def test_a_refusal_is_repeated_under_its_key_and_tried_anew_under_another(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    order = await bought(seller, buyer, "pm_card_createDispute")
    first = assert_problem(await seller.refund(order, key=key), 409, "refund_refused")
    again = assert_problem(await seller.refund(order, key=key), 409, "refund_refused")
    assert again == first
    assert await times_requested(order) == 1
    assert_problem(await seller.refund(order, key="another"), 409, "refund_refused")
    assert await times_requested(order) == 2


async def test_a_refund_whose_api_dies_before_the_answer_is_answered_when_it_is_repeated(
    idle_market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    elsewhere = seller.at(idle_market.visit(await idle_market.open_api()))
    async with idle_market.working():
        order = await bought(seller, buyer)
    asked = asyncio.create_task(seller.refund(order, key=key))
    request = f'WorkflowId = "refund:{order["id"]}"'

    async def is_started() -> bool:
        return (await idle_market.temporal.count_workflows(request)).count == 1

    await eventually(is_started)
    asked.cancel()
    assert_problem(await elsewhere.refund(order, key=key), 409, "request_in_progress")
    async with idle_market.working():
        await buyer.sees(order, "cancelled", "refunded")
        assert (await elsewhere.refund(order, key=key)).status_code == 200
        assert idle_market.sandbox.count("POST", REFUNDS) == 1
        await idle_market.is_consistent()


async def test_one_key_serves_the_refunds_of_two_orders(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    for relist in (True, False):
        order = await bought(seller, buyer)
        answer = await seller.refund(order, key=key, relist=relist)
        assert (answer.status_code, answer.json()["id"]) == (200, order["id"])
    assert market.sandbox.count("POST", REFUNDS) == 2
    await market.is_consistent()


async def test_the_keys_of_an_order_and_its_payment_still_get_their_first_answers(
    market: Marketplace, seller: Person, buyer: Person, key: str
) -> None:
    ticket = await seller.list_ticket()
    reserved = await buyer.ask_for(ticket, key=key)
    paid = await buyer.pay(reserved.json(), key=key)
    assert (await seller.refund(reserved.json())).status_code == 200
    for first, again in (
        (reserved, await buyer.ask_for(ticket, key=key)),
        (paid, await buyer.pay(reserved.json(), key=key)),
    ):
        assert (again.status_code, again.json()) == (201, first.json())
