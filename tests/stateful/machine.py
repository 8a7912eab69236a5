"""What can happen to an order, in any order; Hypothesis looks for the worst one."""

import asyncio
import json
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from pymongo import AsyncMongoClient

from api.http.etags import Precondition
from api.tickets.service import TicketService
from tests.market import Purchase
from tests.operators.poison import POISON, Raw
from tests.stateful.soundness import is_at_its_end, is_sound
from tests.stateful.troubled_market import troubled_market
from ticketing.errors import TicketingError
from ticketing.models import Ticket
from ticketing.mongodb import BSONDocument
from workflows.orders import PAYMENT_INTENT_CHANGED, PAYMENT_SUBMITTED

T = TypeVar("T")

STEP_SECONDS = 60
"""Far above what a step takes, even if a worker takes a task with it: that is missed after 10 s."""

PRICES = st.sampled_from([50, 2500, 99_999_999])
ATTEMPTS = st.integers(1, 3)
CARDS = st.sampled_from(
    [
        "pm_card_visa",
        "pm_card_authenticationRequired",
        "pm_card_chargeDeclinedInsufficientFunds",
        "pm_card_threeDSecureRequiredChargeDeclined",
        "pm_unheard_of",
    ]
)
DURATIONS = st.sampled_from(
    [
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=14, seconds=58),
        timedelta(minutes=16),
    ]
)
REQUESTS = st.sampled_from(
    [
        "/v1/payment_intents",
        "/v1/payment_intents/*",
        "/v1/payment_intents/*/capture",
        "/v1/payment_intents/*/cancel",
    ]
)
SIGNALS = st.sampled_from([PAYMENT_SUBMITTED, PAYMENT_INTENT_CHANGED, "unheard_of"])
ENCODINGS = st.sampled_from(
    ["json/plain", "binary/null", "binary/plain", "json/protobuf", "x", None]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["charge_id", "payment_method", "intent_id", "other"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
PAYLOADS = st.builds(
    Raw, st.binary(max_size=20) | VALUES.map(lambda value: json.dumps(value).encode()), ENCODINGS
)
INPUTS = st.lists(PAYLOADS, max_size=3).map(tuple) | st.sampled_from(list(POISON.values()))
"""Whatever anybody may send with a signal."""
STUMBLES = st.sampled_from(["lost_answer", "lost_request", "error", "error_stored", "rate_limited"])
# Not the failures that Stripe stores: an outage of those uses up the keys of a step.
OUTAGES = st.sampled_from(["lost_answer", "lost_request", "error", "rate_limited"])


class Orders(RuleBasedStateMachine):
    """A few tickets and anybody who wants them, on a bad day.

    After each step the market is let settle, so that a failure can be repeated and made
    smaller. What happens at once does so within one step, or while no worker or no Stripe is
    there: then everything waits for them, and is decided together when they come back.

    Only an update is never sent at once with a signal: the time-skipping server hands it over
    first and records it last, which no replay can follow. The real server keeps the order.
    """

    tickets = Bundle("tickets")
    orders = Bundle("orders")

    def __init__(
        self,
        portal: BlockingPortal,
        mongo: AsyncMongoClient[BSONDocument],
        workflows: list[type],
    ) -> None:
        super().__init__()
        self._portal = portal
        self._opening = portal.wrap_async_context_manager(troubled_market(mongo, workflows))
        self._market = self._opening.__enter__()
        self._is_sound = True

    # --- sellers --------------------------------------------------------------------------

    @initialize(target=tickets, price=PRICES)
    def open_with_a_ticket(self, price: int) -> Ticket:
        return self._run(self._market.list_ticket(price))

    @initialize(target=orders, price=PRICES, attempts=ATTEMPTS)
    def open_with_an_order(self, price: int, attempts: int) -> Purchase:
        ticket = self._run(self._market.list_ticket(price))
        return self._run(self._market.seek(ticket, attempts))

    @rule(target=tickets, price=PRICES)
    def list_ticket(self, price: int) -> Ticket:
        return self._run(self._market.list_ticket(price))

    @rule(ticket=tickets, price=PRICES)
    def edit_ticket(self, ticket: Ticket, price: int) -> None:
        self._run(_edit(ticket, price))

    @rule(ticket=consumes(tickets))
    def withdraw_ticket(self, ticket: Ticket) -> None:
        self._run(_withdraw(ticket))

    # --- buyers ---------------------------------------------------------------------------

    @rule(target=orders, ticket=tickets, attempts=ATTEMPTS)
    def reserve(self, ticket: Ticket, attempts: int) -> Purchase:
        return self._run(self._market.seek(ticket, attempts))

    @rule(target=orders, ticket=tickets, buyers=st.integers(2, 4))
    def reserve_all_at_once(self, ticket: Ticket, buyers: int) -> Purchase:
        seeking = [self._market.seek(ticket, attempts=1) for _ in range(buyers)]
        return _granted(self._at_once(*seeking))

    @rule(target=orders, ticket=tickets, price=PRICES)
    def reserve_while_the_price_is_edited(self, ticket: Ticket, price: int) -> Purchase:
        seeking = self._market.seek(ticket, attempts=1)
        return _granted(self._at_once(seeking, _edit(ticket, price))[:1])

    @rule(target=orders, ticket=consumes(tickets))
    def reserve_while_the_ticket_is_withdrawn(self, ticket: Ticket) -> Purchase:
        seeking = self._market.seek(ticket, attempts=1)
        return _granted(self._at_once(seeking, _withdraw(ticket))[:1])

    @rule(order=orders, card=CARDS)
    def pay(self, order: Purchase, card: str) -> None:
        self._run(self._market.pay(order, card))

    @rule(order=orders, card=CARDS, other_card=CARDS)
    def pay_twice_at_once(self, order: Purchase, card: str, other_card: str) -> None:
        self._at_once(self._market.pay(order, card), self._market.pay(order, other_card))

    @precondition(lambda self: self._market.is_attended)
    @rule(order=orders, card=CARDS)
    def cancel_while_a_payment_is_decided(self, order: Purchase, card: str) -> None:
        self._run(self._market.pay_until_stripe_is_asked(order, card))
        self._run(self._market.cancel(order))

    @precondition(lambda self: self._market.is_attended)
    @rule(order=orders, card=CARDS)
    def pay_while_the_order_is_cancelled(self, order: Purchase, card: str) -> None:
        self._run(self._market.cancel(order))
        self._run(self._market.pay(order, card))

    @precondition(lambda self: self._market.is_attended)
    @rule(order=orders, card=CARDS, duration=DURATIONS)
    def pay_while_time_passes(self, order: Purchase, card: str, duration: timedelta) -> None:
        """Without a worker, so that the next one hears of the payment and the time at once."""
        self._run(self._market.stop_workers())
        self._run(self._market.pass_time(duration))
        self._run(self._market.pay(order, card))
        self._run(self._market.start_workers())

    @precondition(lambda self: self._market.is_attended)
    @rule(order=orders)
    def cancel(self, order: Purchase) -> None:
        self._run(self._market.cancel(order))

    @rule(order=orders)
    def cancel_as_operator(self, order: Purchase) -> None:
        self._run(self._market.cancel_as_operator(order))

    @rule(order=orders, name=SIGNALS, inputs=INPUTS)
    def send_what_cannot_be_read(self, order: Purchase, name: str, inputs: tuple[Raw, ...]) -> None:
        self._run(self._market.send(order, name, inputs))

    # --- banks and Stripe -----------------------------------------------------------------

    @rule(order=orders, approve=st.booleans())
    def authenticate(self, order: Purchase, approve: bool) -> None:
        self._run(self._market.press(order, approve=approve))

    @precondition(lambda self: self._market.is_attended)
    @rule(order=orders, approve=st.booleans())
    def authenticate_and_cancel_at_once(self, order: Purchase, approve: bool) -> None:
        self._at_once(
            self._market.press(order, approve=approve),
            self._market.cancel(order),
        )

    @rule(age=st.integers(0, 20), copies=st.integers(1, 2))
    def deliver_event(self, age: int, copies: int) -> None:
        """One of all that ever were, whether it was delivered before or not."""
        events = self._market.sandbox.events()
        if events:
            self._run(self._market.deliver(events[-1 - age % len(events)], copies=copies))

    @rule()
    def deliver_every_event_backwards(self) -> None:
        for event in reversed(self._market.sandbox.events()):
            self._run(self._market.deliver(event))

    @rule(kind=STUMBLES, path=REQUESTS)
    def let_stripe_stumble(self, kind: str, path: str) -> None:
        self._market.sandbox.set_fault(kind, path=path)

    @precondition(lambda self: not self._market.is_stripe_down)
    @rule(kind=OUTAGES)
    def take_stripe_down(self, kind: str) -> None:
        self._market.sandbox.set_fault(kind, times=None)
        self._market.is_stripe_down = True

    @precondition(lambda self: self._market.is_stripe_down)
    @rule()
    def mend_stripe(self) -> None:
        self._run(self._market.mend_stripe())

    # --- workers and time -----------------------------------------------------------------

    @precondition(lambda self: self._market.is_attended)
    @rule()
    def stop_workers(self) -> None:
        self._run(self._market.stop_workers())

    @precondition(lambda self: not self._market.is_attended)
    @rule()
    def start_workers(self) -> None:
        self._run(self._market.start_workers())

    @precondition(lambda self: self._market.is_attended)
    @rule(order=orders, card=CARDS)
    def lose_the_workers_while_a_payment_is_decided(self, order: Purchase, card: str) -> None:
        self._run(self._market.pay_until_stripe_is_asked(order, card))
        self._run(self._market.stop_workers())
        self._run(self._market.start_workers())

    @rule(duration=DURATIONS)
    def let_time_pass(self, duration: timedelta) -> None:
        self._run(self._market.pass_time(duration))

    # --- what holds -----------------------------------------------------------------------

    @invariant()
    def nothing_is_sold_twice_and_nobody_pays_for_nothing(self) -> None:
        self._is_sound = False
        self._run(self._market.settle())
        self._run(is_sound(self._market))
        self._is_sound = True

    def teardown(self) -> None:
        try:
            if self._is_sound:
                self._run(self._market.drain())
                self._run(is_sound(self._market))
                for purchase in self._market.purchases:
                    self._run(is_at_its_end(self._market, purchase))
        finally:
            self._opening.__exit__(None, None, None)

    def _run(self, step: Awaitable[T]) -> T:
        return self._portal.call(_result_of, step)

    def _at_once(self, *steps: Awaitable[Any]) -> list[Any]:
        return self._portal.call(_results_of, steps)


def _granted(purchases: list[Purchase]) -> Purchase:
    """The one that got the ticket, or any: what a rule returns must not depend on a race."""
    return min(purchases, key=lambda purchase: purchase.reservation.refusal is not None)


async def _result_of(step: Awaitable[T]) -> T:
    async with asyncio.timeout(STEP_SECONDS):
        return await step


async def _results_of(steps: tuple[Awaitable[Any], ...]) -> list[Any]:
    async with asyncio.timeout(STEP_SECONDS):
        return list(await asyncio.gather(*steps))


async def _edit(ticket: Ticket, price: int) -> None:
    with suppress(TicketingError):  # held, sold or gone
        await TicketService(currency="usd").edit(
            str(ticket.id), ticket.user_id, Precondition(), title="Edited", price=price
        )


async def _withdraw(ticket: Ticket) -> None:
    with suppress(TicketingError):  # held, sold or gone
        await TicketService(currency="usd").withdraw(str(ticket.id), ticket.user_id, Precondition())
