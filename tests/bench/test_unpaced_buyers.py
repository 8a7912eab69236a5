"""Unpaced buyers, against a server that answers as it is told to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench import unpaced_buyers
from bench.client import HttpClient, http_client
from bench.unpaced_buyers import UnpacedBuyers


class Shop:
    """Gives the answers that it was given, in turn, and stops the buyers at the last one."""

    def __init__(self, *answers: tuple[int, dict[str, str], dict[str, str]]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        self._url = ""
        self.buyers = UnpacedBuyers(_tickets())

    @asynccontextmanager
    async def signed_in_client(self, number: int = 0) -> AsyncIterator[HttpClient]:
        async with http_client(self._url) as client:
            yield client

    async def serve(self) -> None:
        """Let one buyer buy until there is no answer left."""
        app = web.Application()
        app.router.add_get("/healthz", self._is_healthy)
        app.router.add_post("/api/{what}", self._answer)
        async with TestServer(app) as server:
            self._url = str(server.make_url(""))
            async with asyncio.timeout(10):
                await self.buyers.run(self, 1)

    async def _is_healthy(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["what"])
        status, body, headers = self._answers.pop(0)
        if not self._answers:
            self.buyers.stop()
        return web.json_response(body, status=status, headers=headers)


def _tickets() -> Iterator[str]:
    return (str(number) for number in count())


RESERVED = 201, {"id": "order"}, dict[str, str]()
RESERVED_BEFORE = 200, {"id": "order"}, dict[str, str]()
PAID = 201, {"status": "completed"}, dict[str, str]()
PROCESSING = 202, {"status": "processing"}, dict[str, str]()
TURNED_AWAY = 503, {"code": "overloaded"}, {"Retry-After": "0"}
FAILED = 503, {"code": "temporal_unavailable"}, dict[str, str]()
ALREADY_PAID = 409, {"code": "order_completed"}, dict[str, str]()
TAKEN = 409, {"code": "ticket_reserved"}, dict[str, str]()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpaced_buyers, "PAUSE", 0.0)


async def test_a_buyer_buys_one_ticket_after_the_other() -> None:
    shop = Shop(RESERVED, PAID, RESERVED, PAID)
    await shop.serve()
    assert shop.asked == ["orders", "payments", "orders", "payments"]
    assert len(shop.buyers.outcomes.completed_at) == 2


async def test_who_is_turned_away_comes_again_and_is_counted() -> None:
    shop = Shop(TURNED_AWAY, RESERVED, TURNED_AWAY, TURNED_AWAY, PAID)
    await shop.serve()
    outcomes = shop.buyers.outcomes
    assert shop.asked == ["orders", "orders", "payments", "payments", "payments"]
    assert len(outcomes.turned_away.waits) == 3
    assert outcomes.turned_away.reasons == {"503 overloaded": 3}
    assert len(outcomes.completed_at) == 1
    assert not outcomes.refused_reservations
    assert not outcomes.refused_payments


async def test_a_payment_without_a_decision_is_counted_as_undecided() -> None:
    shop = Shop(RESERVED, PROCESSING)
    await shop.serve()
    assert shop.buyers.outcomes.undecided == 1
    assert shop.buyers.outcomes.completed_at == []


async def test_a_payment_that_failed_is_tried_again_until_its_order_is_known_to_be_paid() -> None:
    shop = Shop(RESERVED, FAILED, ALREADY_PAID)
    await shop.serve()
    outcomes = shop.buyers.outcomes
    assert outcomes.refused_payments == {"503 temporal_unavailable": 1}
    assert len(outcomes.completed_at) == 1
    assert outcomes.undecided == 0


async def test_a_refused_reservation_is_counted_and_another_ticket_is_taken() -> None:
    shop = Shop(TAKEN, RESERVED, PAID)
    await shop.serve()
    outcomes = shop.buyers.outcomes
    assert outcomes.refused_reservations == {"409 ticket_reserved": 1}
    assert len(outcomes.completed_at) == 1


async def test_a_reservation_made_by_an_earlier_try_is_paid() -> None:
    shop = Shop(TURNED_AWAY, RESERVED_BEFORE, PAID)
    await shop.serve()
    assert shop.asked == ["orders", "orders", "payments"]
    assert len(shop.buyers.outcomes.completed_at) == 1


async def test_who_never_hears_of_a_payment_is_counted_as_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpaced_buyers, "GRACE", 0.0)
    shop = Shop(RESERVED, FAILED)
    await shop.serve()
    assert shop.buyers.outcomes.undecided == 1
