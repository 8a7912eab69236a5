"""The feed of payments: who waits is told, whatever else is in the database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from beanie import PydanticObjectId

from api.payments.charge_feed import ChargeFeed, OrderListener
from tests.api.conftest import Mongo
from ticketing.clock import utc_now
from ticketing.models import Charge
from ticketing.mongodb import bind_documents
from ticketing.statuses import ChargeStatus


@pytest.fixture
async def feed(mongodb: Mongo) -> AsyncIterator[ChargeFeed]:
    feed = ChargeFeed()
    yield feed
    await feed.aclose()


def charge_of(order_id: PydanticObjectId) -> Charge:
    return Charge(
        id=PydanticObjectId(),
        order_id=order_id,
        attempt=1,
        status=ChargeStatus.CREATED,
        amount=5000,
        currency="usd",
        created_at=utc_now(),
    )


async def told(listener: OrderListener) -> Charge | None:
    return await asyncio.wait_for(listener.next(), 20)


async def test_who_waits_is_told_of_the_charges_of_the_order_and_of_no_other(
    feed: ChargeFeed,
) -> None:
    order_id = PydanticObjectId()
    async with feed.listen(order_id) as listener:
        assert await told(listener) is None  # the stream is open now
        await charge_of(PydanticObjectId()).insert()
        charge = await charge_of(order_id).insert()
        begun = await told(listener)
        await charge.set({"status": ChargeStatus.FAILED})
        failed = await told(listener)

    assert (begun and begun.id, begun and begun.status) == (charge.id, ChargeStatus.CREATED)
    assert (failed and failed.id, failed and failed.status) == (charge.id, ChargeStatus.FAILED)
    assert not feed.is_listened_to


async def test_a_charge_that_nobody_can_read_ends_no_feed(feed: ChargeFeed) -> None:
    order_id = PydanticObjectId()
    charges = Charge.get_pymongo_collection()
    async with feed.listen(order_id) as listener:
        assert await told(listener) is None
        await charges.insert_one({"entered": "by hand"})
        await charges.insert_one({"order_id": order_id, "attempt": 1, "amount": "a lot"})
        assert await told(listener) is None  # who waits has to look
        charge = charge_of(order_id)
        charge.attempt = 2
        await charge.insert()
        begun = await told(listener)

    assert begun is not None
    assert begun.id == charge.id


async def test_a_feed_whose_database_was_dropped_goes_on(feed: ChargeFeed, mongodb: Mongo) -> None:
    order_id = PydanticObjectId()
    async with feed.listen(order_id) as listener:
        assert await told(listener) is None
        await charge_of(PydanticObjectId()).insert()
        database = Charge.get_pymongo_collection().database
        await mongodb.drop_database(database.name)
        await bind_documents(database)  # its indexes, for whoever comes next
        assert await told(listener) is None  # opened again
        await charge_of(order_id).insert()
        assert await told(listener) is not None
