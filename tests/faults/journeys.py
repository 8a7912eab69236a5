"""The errands that customers run, each to its end, noting whatever they are promised."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from uuid import UUID

import httpx

from tests.faults.plan import Act, Journey, PlannedPurchase
from tests.faults.promises import ListedTicket, Promises, ReservedOrder
from tests.faults.shopping import Customer, Json, Shop

VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclinedInsufficientFunds"
AUTHENTICATING = "pm_card_authenticationRequired"

LOOK_AGAIN_SECONDS = 1.5
RUSH = 4
"""Buyers who want one ticket at the same time, besides the first."""
LISTINGS = 3
"""How often a seller lists a ticket that is withdrawn again and again."""


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
    acted_on: defaultdict[str, set[Act]] = field(default_factory=lambda: defaultdict(set))
    """What operators did, or tried to do, by the id of the order."""
    closed: set[str] = field(default_factory=set)
    """Ids of orders that their buyers have seen closed."""


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
        ticket = await self._list_ticket(self.planned.price)
        if self.planned.journey is Journey.RUSHED:
            await self._rush(ticket)
            return
        if self.planned.journey is Journey.RELISTED_MEANWHILE:
            await self._buy_while_it_is_relisted()
            return
        if self.planned.journey is Journey.EDITED_MEANWHILE:
            order, _, _ = await asyncio.gather(
                self._reserve(self._buyer, ticket),
                self._edit(ticket, ticket.price + 1),
                self._withdraw(ticket),
            )
        else:
            order = await self._reserve(self._buyer, ticket)
        if order is not None:
            await WAYS[self.planned.journey](self, order)
            await self._note_how_it_ended(order)
            if order.id in self.market.acted_on:
                await self._let_another_buy(ticket)

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

    async def _let_another_buy(self, ticket: ListedTicket) -> None:
        """What an operator has taken from one buyer is sold to the next."""
        self._buyer = self._others[0]
        await self._pay_for_all([await self._reserve(self._buyer, ticket)], [self._buyer])

    async def _rush(self, ticket: ListedTicket) -> None:
        buyers = [self._buyer, *self._others]
        held = await asyncio.gather(*(self._reserve(buyer, ticket) for buyer in buyers))
        await self._pay_for_all(held, buyers)

    async def _buy_while_it_is_relisted(self) -> None:
        key = self._new_key()
        listings = [await self._list_ticket(self.planned.price, key)]
        buyers = [self._buyer, self._others[0]]
        *held, _ = await asyncio.gather(
            *(self._reserve_the_latest(buyer, listings) for buyer in buyers),
            self._relist(listings, key),
        )
        await self._pay_for_all(held, buyers)

    async def _reserve_the_latest(
        self, buyer: Customer, listings: Sequence[ListedTicket]
    ) -> ReservedOrder | None:
        order = None
        for _ in range(2 * LISTINGS):
            if order is None:
                await asyncio.sleep(self._dice.uniform(0, 0.2))
                order = await self._reserve(buyer, listings[-1])
        return order

    async def _relist(self, listings: list[ListedTicket], key: str) -> None:
        """Withdraw the ticket and list it for more under the same key; in between, reprice it."""
        for price in range(self.planned.price + 10, self.planned.price + 10 * LISTINGS, 10):
            await asyncio.sleep(self._dice.uniform(0, 0.2))
            await self._edit(listings[-1], price - 5)
            if not await self._withdraw(listings[-1]):
                return
            listings.append(await self._list_ticket(price, key))

    async def _pay_for_all(
        self, held: Sequence[ReservedOrder | None], buyers: Sequence[Customer]
    ) -> None:
        for buyer, order in zip(buyers, held, strict=True):
            if order is not None:
                self._buyer = buyer
                await self._pay(order, VISA)
                await self._note_how_it_ended(order)

    async def _list_ticket(self, price: int, key: str | None = None) -> ListedTicket:
        """List it; a key that stood for another price before may be refused: then under a new one.

        A ticket that is there once more under the same id is withdrawn no longer.
        """
        listing = {"title": f"Ticket {self.planned.number}", "price": price}
        answer = await self._ask(self._seller, "POST", "/api/tickets", listing, key=key)
        ticket = _expect(answer, {HTTPStatus.CREATED}, "idempotency_key_reused")
        if not answer.is_success:
            return await self._list_ticket(price)
        if ticket["price"] != price:
            raise Unexpected(f"a ticket was listed for {price} and answered as {ticket}")
        listed = ListedTicket(ticket["id"], price)
        self.market.promises.listed.append(listed)
        self.market.promises.withdrawn.discard(listed.id)
        return listed

    async def _edit(self, ticket: ListedTicket, price: int) -> None:
        change = {"title": "Repriced", "price": price}
        answer = await self._ask(self._seller, "PUT", f"/api/tickets/{ticket.id}", change)
        _expect(answer, {HTTPStatus.OK}, "ticket_reserved", "ticket_sold", "ticket_not_found")

    async def _withdraw(self, ticket: ListedTicket) -> bool:
        self.market.promises.asked_to_withdraw.add(ticket.id)
        answer = await self._ask(self._seller, "DELETE", f"/api/tickets/{ticket.id}")
        # Not found: the answer to the first try was lost.
        _expect(
            answer,
            {HTTPStatus.NO_CONTENT},
            "ticket_reserved",
            "ticket_sold",
            "ticket_not_found",
        )
        if answer.is_success:
            self.market.promises.withdrawn.add(ticket.id)
        return answer.is_success

    async def _reserve(self, buyer: Customer, ticket: ListedTicket) -> ReservedOrder | None:
        named = ticket.price if self._dice.random() < 0.5 else None
        wish: Json = {"ticketId": ticket.id} | ({} if named is None else {"price": named})
        answer = await self._ask(buyer, "POST", "/api/orders", wish)
        order = _expect(
            answer,
            {HTTPStatus.CREATED, HTTPStatus.OK},
            "ticket_reserved",
            "ticket_sold",
            "ticket_not_found",
            *(() if named is None else ("price_changed",)),
        )
        if not answer.is_success:
            self.market.outcomes[f"refused: {order['code']}"] += 1
            return None
        reserved = ReservedOrder(order["id"], ticket.id, buyer.id, order["ticket"]["price"], named)
        before = self.market.promises.reserved.setdefault(reserved.id, reserved)
        if before.price != reserved.price:
            raise Unexpected(f"{before} was answered once more as {reserved}")
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
        key = self._new_key()
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
        self.market.closed.add(order.id)
        reason = seen["cancelReason"]
        self.market.outcomes[f"{seen['status']}: {reason}" if reason else seen["status"]] += 1

    def _new_key(self) -> str:
        return str(UUID(int=self._dice.getrandbits(128), version=4))

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
"""What a buyer who holds the ticket does then; a rush or a relisted ticket is nobody's alone."""
