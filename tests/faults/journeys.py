"""The errands that customers run, each to its end, noting whatever they are promised."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from uuid import UUID

import httpx

from tests.faults.plan import Journey, PlannedPurchase
from tests.faults.promises import ListedTicket, Promises, ReservedOrder
from tests.faults.shopping import Customer, Json, Shop

VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"
AUTHENTICATING = "pm_card_authenticationRequired"

LOOK_AGAIN_SECONDS = 1.5
RUSH = 4
"""Buyers who want one ticket at the same time, besides the first."""


class Unexpected(Exception):
    """An answer that the contract does not know for this request."""


@dataclass
class Market:
    """Everything that an errand needs."""

    shop: Shop
    customers: Sequence[Customer]
    bank: httpx.AsyncClient
    """The sandbox's page on which a bank asks its client."""
    promises: Promises = field(default_factory=Promises)
    outcomes: Counter[str] = field(default_factory=Counter)
    """How the orders ended, and why reservations were refused."""


@dataclass
class Errand:
    """One planned purchase, from listing its ticket to a closed order."""

    market: Market
    planned: PlannedPurchase

    def __post_init__(self) -> None:
        self._dice = random.Random(self.planned.seed)
        self._seller, self._buyer, *self._others = self._dice.sample(
            list(self.market.customers), 2 + RUSH
        )

    async def run(self) -> None:
        """Run it, and note how it ended."""
        ticket = await self._list_ticket()
        if self.planned.journey is Journey.RUSHED:
            await self._rush(ticket)
            return
        if self.planned.journey is Journey.EDITED_MEANWHILE:
            order, _, _ = await asyncio.gather(
                self._reserve(self._buyer, ticket), self._edit(ticket), self._withdraw(ticket)
            )
        else:
            order = await self._reserve(self._buyer, ticket)
        if order is not None:
            await WAYS[self.planned.journey](self, order)
            await self._note_how_it_ended(order)

    async def _pay_with_visa(self, order: ReservedOrder) -> None:
        await self._pay(order, VISA)

    async def _pay_twice_at_once(self, order: ReservedOrder) -> None:
        await asyncio.gather(self._pay(order, VISA), self._pay(order, VISA))

    async def _pay_with_a_second_card(self, order: ReservedOrder) -> None:
        await self._pay(order, DECLINED)
        await self._see_payment_decided(order)
        await self._pay(order, VISA)

    async def _be_declined(self, order: ReservedOrder) -> None:
        await self._pay(order, DECLINED)
        await self._see_payment_decided(order)
        await self._pay(order, DECLINED)

    async def _do_nothing(self, order: ReservedOrder) -> None:
        """And let the reservation expire."""
        await asyncio.sleep(await self._seconds_left(order))

    async def _cancel_it(self, order: ReservedOrder) -> None:
        await asyncio.sleep(self._dice.uniform(0, 1))
        await self._cancel(order)

    async def _pay_and_cancel_at_once(self, order: ReservedOrder) -> None:
        await asyncio.gather(self._pay(order, VISA), self._cancel(order))

    async def _pay_at_the_deadline(self, order: ReservedOrder) -> None:
        left = await self._seconds_left(order)
        await asyncio.sleep(max(0, left + self._dice.uniform(-0.3, 0.1)))
        await self._pay(order, VISA)

    async def _authenticate(self, order: ReservedOrder) -> None:
        await self._answer_the_bank(order, "approve")

    async def _refuse_to_authenticate(self, order: ReservedOrder) -> None:
        await self._answer_the_bank(order, "decline")

    async def _leave_the_bank_waiting(self, order: ReservedOrder) -> None:
        await self._pay(order, AUTHENTICATING)

    async def _refund(self, order: ReservedOrder, *, relist: bool = False) -> None:
        await self._pay(order, VISA)
        if (await self._see_it_closed(order))["status"] != "completed":
            return
        self.market.promises.asked_to_refund.add(order.id)
        await asyncio.gather(
            self._ask_for_refund(order, relist=relist), self._ask_for_refund(order, relist=relist)
        )

    async def _refund_and_relist(self, order: ReservedOrder) -> None:
        await self._refund(order, relist=True)

    async def _rush(self, ticket: ListedTicket) -> None:
        buyers = [self._buyer, *self._others]
        held = await asyncio.gather(*(self._reserve(buyer, ticket) for buyer in buyers))
        for buyer, order in zip(buyers, held, strict=True):
            if order is not None:
                self._buyer = buyer
                await self._pay(order, VISA)
                await self._note_how_it_ended(order)

    async def _list_ticket(self) -> ListedTicket:
        listing = {"title": f"Ticket {self.planned.number}", "price": self.planned.price}
        answer = await self._ask(self._seller, "POST", "/api/tickets", listing)
        ticket = _expect(answer, {HTTPStatus.CREATED})
        listed = ListedTicket(ticket["id"], self.planned.price)
        self.market.promises.listed.append(listed)
        return listed

    async def _edit(self, ticket: ListedTicket) -> None:
        change = {"title": "Repriced", "price": self.planned.price + 1}
        answer = await self._ask(self._seller, "PUT", f"/api/tickets/{ticket.id}", change)
        _expect(answer, {HTTPStatus.OK}, "ticket_reserved", "ticket_sold", "ticket_not_found")

    async def _withdraw(self, ticket: ListedTicket) -> None:
        answer = await self._ask(self._seller, "DELETE", f"/api/tickets/{ticket.id}")
        if answer.status_code == HTTPStatus.NO_CONTENT:
            self.market.promises.withdrawn.add(ticket.id)
        else:
            # Not found: the answer to the first try was lost.
            _expect(answer, set(), "ticket_reserved", "ticket_sold", "ticket_not_found")

    async def _reserve(self, buyer: Customer, ticket: ListedTicket) -> ReservedOrder | None:
        answer = await self._ask(buyer, "POST", "/api/orders", {"ticketId": ticket.id})
        order = _expect(
            answer,
            {HTTPStatus.CREATED, HTTPStatus.OK},
            "ticket_reserved",
            "ticket_sold",
            "ticket_not_found",
        )
        if not answer.is_success:
            self.market.outcomes[f"refused: {order['code']}"] += 1
            return None
        reserved = ReservedOrder(order["id"], ticket.id, buyer.id, order["ticket"]["price"])
        self.market.promises.reserved[reserved.id] = reserved
        return reserved

    async def _pay(self, order: ReservedOrder, card: str, key: str | None = None) -> Json:
        payment = {"orderId": order.id, "paymentMethod": card}
        answer = await self._ask(self._buyer, "POST", "/api/payments", payment, key=key)
        charge = _expect(
            answer,
            {HTTPStatus.CREATED, HTTPStatus.ACCEPTED},
            "card_declined",
            "order_expired",
            "order_cancelled",
            "order_completed",
            "payment_in_progress",
        )
        if answer.status_code == HTTPStatus.CREATED:
            self.market.promises.paid.add(order.id)
        elif answer.status_code == HTTPStatus.PAYMENT_REQUIRED:
            self.market.promises.declined.add(order.id)
        return charge

    async def _answer_the_bank(self, order: ReservedOrder, decision: str) -> None:
        key = str(UUID(int=self._dice.getrandbits(128), version=4))
        secret, patience = None, self.market.shop.patience()
        while secret is None:
            secret = (await self._pay(order, AUTHENTICATING, key)).get("clientSecret")
            if secret is None and _is_closed(await self._order(order)):
                return
            if secret is None and patience.is_over:
                raise Unexpected(f"order {order.id} was not sent to the bank {patience}")
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        await asyncio.sleep(self._dice.uniform(0, 2))
        # The page may come too late: then it says so, and nothing happens.
        await self.market.bank.post(
            "/authenticate", params={"client_secret": secret}, data={"decision": decision}
        )

    async def _cancel(self, order: ReservedOrder) -> None:
        answer = await self._ask(self._buyer, "DELETE", f"/api/orders/{order.id}")
        _expect(answer, {HTTPStatus.OK}, "order_completed", "payment_in_progress")
        if answer.is_success:
            self.market.promises.cancelled.add(order.id)

    async def _ask_for_refund(self, order: ReservedOrder, *, relist: bool) -> None:
        path = f"/api/orders/{order.id}/refund"
        answer = await self._ask(self._seller, "POST", path, {"relist": relist})
        patience = self.market.shop.patience()
        while answer.status_code == HTTPStatus.ACCEPTED and not patience.is_over:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            answer = await self._ask(self._seller, "POST", path, {"relist": relist})
        refunded = _expect(answer, {HTTPStatus.OK})
        if refunded["cancelReason"] != "refunded":
            raise Unexpected(f"{path} answered 200 with {refunded}")
        self.market.promises.refunded.add(order.id)

    async def _see_payment_decided(self, order: ReservedOrder) -> None:
        await self._see(order, lambda seen: seen["status"] != "awaiting_payment")

    async def _see_it_closed(self, order: ReservedOrder) -> Json:
        return await self._see(order, _is_closed)

    async def _see(self, order: ReservedOrder, what: Callable[[Json], bool]) -> Json:
        patience = self.market.shop.patience()
        while not what(seen := await self._order(order)):
            if patience.is_over:
                raise Unexpected(f"order {order.id} is still {seen['status']} {patience}")
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return seen

    async def _note_how_it_ended(self, order: ReservedOrder) -> None:
        seen = await self._see_it_closed(order)
        reason = seen["cancelReason"]
        self.market.outcomes[f"{seen['status']}: {reason}" if reason else seen["status"]] += 1

    async def _seconds_left(self, order: ReservedOrder) -> float:
        expires_at = datetime.fromisoformat((await self._order(order))["expiresAt"])
        return (expires_at - datetime.now(UTC)).total_seconds()

    async def _order(self, order: ReservedOrder) -> Json:
        answer = await self._ask(self._buyer, "GET", f"/api/orders/{order.id}")
        return _expect(answer, {HTTPStatus.OK})

    async def _ask(
        self,
        customer: Customer,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        key: str | None = None,
    ) -> httpx.Response:
        return await customer.ask(self._dice, method, path, body, key=key)


def _expect(answer: httpx.Response, successes: set[HTTPStatus], *refusals: str) -> Json:
    body: Json = answer.json() if answer.content else {}
    if answer.status_code not in successes and body.get("code") not in refusals:
        request = answer.request
        raise Unexpected(f"{request.method} {request.url.path}: {answer.status_code} {body}")
    return body


def _is_closed(order: Json) -> bool:
    return order["status"] in ("completed", "cancelled")


WAYS: dict[Journey, Callable[[Errand, ReservedOrder], Awaitable[None]]] = {
    Journey.PAID: Errand._pay_with_visa,
    Journey.PAID_TWICE_AT_ONCE: Errand._pay_twice_at_once,
    Journey.SECOND_CARD: Errand._pay_with_a_second_card,
    Journey.DECLINED: Errand._be_declined,
    Journey.ABANDONED: Errand._do_nothing,
    Journey.CANCELLED: Errand._cancel_it,
    Journey.PAID_AND_CANCELLED_AT_ONCE: Errand._pay_and_cancel_at_once,
    Journey.PAID_AT_THE_DEADLINE: Errand._pay_at_the_deadline,
    Journey.AUTHENTICATED: Errand._authenticate,
    Journey.REFUSED_BY_THE_BANK: Errand._refuse_to_authenticate,
    Journey.AUTHENTICATION_ABANDONED: Errand._leave_the_bank_waiting,
    Journey.REFUNDED: Errand._refund,
    Journey.REFUNDED_AND_RELISTED: Errand._refund_and_relist,
    Journey.EDITED_MEANWHILE: Errand._pay_with_visa,
}
"""What a buyer who holds the ticket does then; a rush is nobody's alone."""
