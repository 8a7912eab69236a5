"""An order that is refused is counted where it is refused, with the reason, and once."""

from collections.abc import Callable

import pytest

from api.orders import reservations as services
from api.orders.refusal_counter import RefusalCounter
from tests.observability.meters import ReadableMeter
from tests.purchases.marketplace import Marketplace, Person
from tests.resources import exchange

Refused = Callable[[str], float]


@pytest.fixture
def refused(idle_market: Marketplace) -> Refused:
    """How many orders were refused for a reason."""
    readable = ReadableMeter()
    exchange(idle_market.app, refusal_counter=RefusalCounter(readable.meter))
    return lambda reason: readable.added("holdfast_orders", outcome="refused", reason=reason)


async def test_each_refused_order_is_counted_with_its_reason(
    market: Marketplace, seller: Person, buyer: Person, other_buyer: Person, refused: Refused
) -> None:
    ticket = await seller.list_ticket()
    await seller.ask_for(ticket)
    await buyer.ask_for(ticket, price=4000)
    order = await buyer.reserve(ticket)
    await other_buyer.ask_for(ticket)
    await buyer.ask_for(ticket)  # already theirs: not refused
    await buyer.buy(order)
    await other_buyer.ask_for(ticket)
    await other_buyer.ask_for({"id": "0" * 24})
    market.set_rules(max_reservations=1)
    await buyer.reserve(await seller.list_ticket())
    await buyer.ask_for(await seller.list_ticket())

    for reason in (
        "own_ticket",
        "price_changed",
        "ticket_reserved",
        "ticket_sold",
        "ticket_not_found",
        "too_many_reservations",
    ):
        assert refused(reason) == 1, reason


async def test_a_refusal_that_is_told_again_to_a_repeated_request_is_counted_once(
    market: Marketplace,
    seller: Person,
    buyer: Person,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that it is the order's workflow that refuses, and remembers it.
    monkeypatch.setattr(services, "choose_slot", lambda *_: 0)
    market.set_rules(max_reservations=1)
    await buyer.reserve(await seller.list_ticket())
    ticket = await seller.list_ticket()

    answers = [await buyer.ask_for(ticket, key='"the-same-request"') for _ in range(3)]

    assert {answer.json()["code"] for answer in answers} == {"too_many_reservations"}
    assert refused("too_many_reservations") == 1
