"""Controls: a process of the application with one guard removed.

`python -m tests.faults.sabotage GUARD PROGRAM...` runs the program without the guard, and a run
of the harness has to notice.
"""

import asyncio
import runpy
import sys
from collections.abc import Callable
from uuid import uuid4

from beanie import PydanticObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.results import UpdateResult

from activities import orders, reservations
from activities.orders import BeginPayment
from tests.purchases import careless
from ticketing.models import Order
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import IntentStatus, PaymentIntent, PaymentOutcomeUnknown
from ticketing.statuses import OrderStatus


def check_then_insert() -> None:
    """Reserve by looking first and writing later, with no index and no later look to object."""
    Order.Settings.indexes = [
        index
        for index in Order.Settings.indexes
        if index.document["name"] != "one_holding_order_per_ticket"
    ]

    async def open_without_ticket(input: BeginPayment, session: AsyncClientSession) -> bool:
        unpaid = {"_id": PydanticObjectId(input.order_id), "status": OrderStatus.CREATED}
        result = await Order.find_one(unpaid, session=session).update(
            {"$set": {"status": OrderStatus.AWAITING_PAYMENT}}
        )
        return isinstance(result, UpdateResult) and result.modified_count == 1

    reserve = careless.reserve(lambda: asyncio.sleep(0.2))
    reservations.lock_ticket = reserve  # type: ignore[assignment] # that is the sabotage
    orders._set_awaiting_payment = open_without_ticket


def release_on_unknown() -> None:
    """Take silence for a no: an answer of Stripe's that was lost cancels the order."""
    capture = StripeGateway.capture

    async def capture_or_give_up(
        self: StripeGateway, intent_id: str, *, idempotency_key: str
    ) -> PaymentIntent:
        try:
            return await capture(self, intent_id, idempotency_key=idempotency_key)
        except PaymentOutcomeUnknown:
            return PaymentIntent(intent_id, IntentStatus.CANCELED, 0, 0, "usd", "no_answer")

    StripeGateway.capture = capture_or_give_up  # type: ignore[method-assign] # that is the sabotage


def fresh_idempotency_keys() -> None:
    """Ask Stripe under a new key each time, so that a retry is a second payment."""
    under = StripeGateway._with_fresh_keys

    async def under_random_keys(
        self: StripeGateway, _key: str, *args: object, **kwargs: object
    ) -> object:
        return await under(self, str(uuid4()), *args, **kwargs)  # type: ignore[arg-type] # passed on as they came

    StripeGateway._with_fresh_keys = under_random_keys  # type: ignore[method-assign, assignment] # that is the sabotage


GUARDS: dict[str, Callable[[], None]] = {
    "reservation": check_then_insert,
    "unknown-answers": release_on_unknown,
    "idempotency-keys": fresh_idempotency_keys,
}
"""What can be removed, by the name of the guard."""


def main() -> None:
    """Remove the guard, then run what would have been run with it."""
    _, guard, *program = sys.argv
    GUARDS[guard]()
    sys.argv = program[1:] if program[0] == "-m" else program
    if program[0] == "-m":
        runpy.run_module(program[1], run_name="__main__")
    else:
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main()
