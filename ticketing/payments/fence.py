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
        """The order's charge for which an intent may be made, or read; None if none may.

        A payment that has just been begun passed the same conditions with that.
        """
        charge = {
            "_id": PydanticObjectId(charge_id),
            "order_id": PydanticObjectId(order_id),
            "amount": amount,
            "currency": currency,
        }

        async def write(session: AsyncClientSession) -> Charge | None:
            passed = await _write_undecided(charge, {}, session)
            if passed is not None and await _may_be_paid(passed, session):
                return passed
            await session.abort_transaction()
            return None

        return await in_transaction(self._mongo, write)

    async def before_capture(
        self, order_id: str, attempt: int, intent_id: str, amount: int
    ) -> bool:
        """Note the intent and mark that it is being captured, if it may be.

        Until Stripe has ended the intent, nobody cancels the order (`FailedCharge`). So the order
        and its ticket are read after the mark, and need no transaction: they stay as they are.
        Where they refuse, the mark stays as well, until the intent is ended.
        """
        charge = {
            "order_id": PydanticObjectId(order_id),
            "attempt": attempt,
            "stripe_id": {"$in": [None, intent_id]},
            "amount": amount,
        }
        marked = await _write_undecided(charge, {"stripe_id": intent_id, "capturing": intent_id})
        return marked is not None and await _may_be_paid(marked)


async def _write_undecided(
    charge: Mapping[str, object],
    values: Mapping[str, object],
    session: AsyncClientSession | None = None,
) -> Charge | None:
    written = await Charge.find_one(
        {**charge, "status": ChargeStatus.CREATED}, session=session
    ).update(
        {"$set": {"asked_at": to_milliseconds(utc_now()), **values}},
        response_type=UpdateResponse.NEW_DOCUMENT,
    )
    return written if isinstance(written, Charge) else None


async def _may_be_paid(charge: Charge, session: AsyncClientSession | None = None) -> bool:
    """Whether the order awaits just this payment, of its price, and holds its ticket."""
    payable = await Order.aggregate(
        [
            {
                "$match": {
                    "_id": charge.order_id,
                    "status": OrderStatus.AWAITING_PAYMENT,
                    "ticket.price": charge.amount,
                    "ticket.currency": charge.currency,
                }
            },
            {
                "$lookup": {
                    "from": Ticket.get_collection_name(),
                    "localField": "ticket_id",
                    "foreignField": "_id",
                    "as": "held",
                }
            },
            {"$match": {"held": {"$elemMatch": {"order_id": charge.order_id, "sold_at": None}}}},
            {"$project": {"_id": 1}},
        ],
        session=session,
    ).to_list()
    return bool(payable)
