"""Buyers who buy one ticket after the other without a pause, and come again when turned away."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter

from bench.client import NO_ANSWER_ERRORS, Answer, HttpClient
from bench.figures import Row, absolute_row
from bench.purchases import Shop
from bench.retries import RESERVED_STATUSES, TurnedAway, post_until_admitted

PAUSE = 1.0
"""Seconds that a buyer waits after a refusal without `Retry-After`."""
GRACE = 60.0
"""For how many seconds after the end a buyer with a reservation still tries to pay."""

PAYABLE_AGAIN = frozenset({"payment_in_progress", "request_in_progress"})
"""The problems after which a payment is tried again."""


@dataclass
class Outcomes:
    """What the buyers were told."""

    completed_at: list[float] = field(default_factory=list)
    """Seconds from the start until a buyer was told that the order is completed."""
    undecided: int = 0
    """Payments that were answered "still processing" (202), or never."""
    turned_away: TurnedAway = field(default_factory=TurnedAway)
    refused_reservations: Counter[str] = field(default_factory=Counter)
    """Reservations refused without `Retry-After`, by the reason."""
    refused_payments: Counter[str] = field(default_factory=Counter)
    """Payments refused without `Retry-After`, by the reason; some of them are tried again."""

    def completed_between(self, start: float, end: float) -> int:
        """How many buyers were told so in this time."""
        return sum(start <= at < end for at in self.completed_at)


class UnpacedBuyers:
    """Buy until they are stopped, each a ticket of its own."""

    def __init__(self, tickets: Iterator[str]) -> None:
        self.outcomes = Outcomes()
        self.started = asyncio.Event()
        self._tickets = tickets
        self._began = perf_counter()
        self._ends = float("inf")

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._began

    def stop(self) -> None:
        """Reserve nothing more; who has a reservation still pays."""
        self._ends = perf_counter()

    async def run(self, shop: Shop, count: int) -> None:
        """Buy until the stop, and until every payment is answered."""
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(shop.signed_in_client(n)) for n in range(count)
            ]
            # Connect beforehand, as browsers with an open page have.
            await asyncio.gather(*(client.get("/healthz") for client in clients))
            self._began = perf_counter()
            self.started.set()
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(self._buy_until_the_stop(client))

    async def _buy_until_the_stop(self, client: HttpClient) -> None:
        while self._may_reserve():
            order_id = await self._reserve(client, next(self._tickets))
            if order_id:
                await self._pay(client, order_id)

    async def _reserve(self, client: HttpClient, ticket_id: str) -> str | None:
        """Reserve the ticket; the id of the order, or None if it was refused."""
        body = {"ticketId": ticket_id}
        answer = await self._post(client, "/api/orders", body, self._may_reserve)
        if answer and answer.status in RESERVED_STATUSES:
            return str(answer.json()["id"])
        if not (answer and answer.is_turned_away):
            self.outcomes.refused_reservations[_reason(answer)] += 1
            await asyncio.sleep(PAUSE)
        return None

    async def _pay(self, client: HttpClient, order_id: str) -> None:
        """Pay, and try again while it is not known whether the order is paid."""
        body = {"orderId": order_id, "paymentMethod": "pm_card_visa"}
        while self._may_pay():
            answer = await self._post(client, "/api/payments", body, self._may_pay)
            if _is_completed(answer):
                self.outcomes.completed_at.append(self.seconds)
                return
            if answer and answer.status == 202:
                break
            if not (answer and answer.is_turned_away):
                self.outcomes.refused_payments[_reason(answer)] += 1
            if not _is_payable_again(answer):
                return
            await asyncio.sleep(PAUSE)
        self.outcomes.undecided += 1

    async def _post(
        self, client: HttpClient, path: str, body: dict[str, str], goes_on: Callable[[], bool]
    ) -> Answer | None:
        """The answer of a request that was let in; None if no answer came."""
        try:
            return await post_until_admitted(client, path, body, self.outcomes.turned_away, goes_on)
        except NO_ANSWER_ERRORS:
            return None

    def _may_reserve(self) -> bool:
        return perf_counter() < self._ends

    def _may_pay(self) -> bool:
        return perf_counter() < self._ends + GRACE


def refusal_rows(name: str, outcomes: Outcomes) -> Iterator[Row]:
    """How many requests were refused without `Retry-After`, and why."""
    for what, refused in (
        ("reservations", outcomes.refused_reservations),
        ("payments", outcomes.refused_payments),
    ):
        yield absolute_row(f"{name}: {what} refused otherwise", refused.total(), "")
        for reason, count in refused.items():
            yield absolute_row(f"{name}: {what} refused, {reason}", count, "")


def _is_completed(answer: Answer | None) -> bool:
    """Whether the answer says that the order is paid, perhaps by an earlier try."""
    return bool(answer and (answer.status == 201 or answer.code == "order_completed"))


def _is_payable_again(answer: Answer | None) -> bool:
    return answer is None or answer.status >= 500 or answer.code in PAYABLE_AGAIN


def _reason(answer: Answer | None) -> str:
    return answer.reason if answer else "no answer"
