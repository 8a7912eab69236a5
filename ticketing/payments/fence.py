"""The fence before money: the documents decide whether Stripe may be asked, not a history.

An operator may reset a workflow to any event, start one by hand, or restore an older Temporal. So
money is authorized and captured only after a conditional write on the order's current state
(docs/adr/0023-fence-before-money.md).
"""

from collections.abc import Mapping

from beanie import PydanticObjectId, UpdateResponse
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from ticketing.clock import to_milliseconds, utc_now
from ticketing.models import Charge, Order, Ticket
from ticketing.mongodb import BSONDocument, in_transaction
from ticketing.statuses import ChargeStatus, OrderStatus


class PaymentFence:
    """Lets a payment pass if its charge is undecided, and its order awaits it and holds the ticket.

    Closing an order also writes its undecided charge, so the payment and the closing conflict:
    one comes first, and the other sees it.
    """

    def __init__(self, mongo: AsyncMongoClient[BSONDocument]) -> None:
        self._mongo = mongo

    async def before_authorization(
        self, order_id: str, charge_id: str, amount: int, currency: str
    ) -> Charge | None:
        """The order's charge for which an intent may be made, or read; None if none may."""
        charge = {
            "_id": PydanticObjectId(charge_id),
            "order_id": PydanticObjectId(order_id),
            "amount": amount,
            "currency": currency,
        }
        return await self._pass(charge, {})

    async def before_capture(
        self, order_id: str, attempt: int, intent_id: str, amount: int
    ) -> bool:
        """Mark that the intent is being captured, if it may be.

        Until Stripe has ended the intent, nobody cancels the order (`FailedCharge`).
        """
        charge = {
            "order_id": PydanticObjectId(order_id),
            "attempt": attempt,
            "stripe_id": intent_id,
            "amount": amount,
        }
        return await self._pass(charge, {"capturing": intent_id}) is not None

    async def _pass(
        self, charge: Mapping[str, object], mark: Mapping[str, object]
    ) -> Charge | None:
        async def write(session: AsyncClientSession) -> Charge | None:
            passed = await Charge.find_one(
                {**charge, "status": ChargeStatus.CREATED}, session=session
            ).update(
                {"$set": {"asked_at": to_milliseconds(utc_now()), **mark}},
                response_type=UpdateResponse.NEW_DOCUMENT,
            )
            if isinstance(passed, Charge) and await _may_be_paid(passed, session):
                return passed
            await session.abort_transaction()
            return None

        return await in_transaction(self._mongo, write)


async def _may_be_paid(charge: Charge, session: AsyncClientSession) -> bool:
    """Whether the order awaits just this payment, of its price, and holds its ticket."""
    order = await Order.find_one(
        {
            "_id": charge.order_id,
            "status": OrderStatus.AWAITING_PAYMENT,
            "ticket.price": charge.amount,
            "ticket.currency": charge.currency,
        },
        session=session,
    )
    if order is None:
        return False
    held = {"_id": order.ticket_id, "order_id": order.id, "sold_at": None}
    return await Ticket.find_one(held, session=session) is not None
