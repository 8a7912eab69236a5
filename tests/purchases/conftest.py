"""A marketplace on real servers, and people in it."""

from collections.abc import AsyncIterator

import pytest
from pymongo import AsyncMongoClient

from tests.purchases.contract import Documentation
from tests.purchases.marketplace import Marketplace, Person, open_marketplace
from ticketing.mongodb import BSONDocument
from ticketing.settings import MongoDBSettings


@pytest.fixture
async def idle_market(
    mongodb: AsyncMongoClient[BSONDocument],
    mongodb_settings: MongoDBSettings,
    temporal_address: str,
    documentation: Documentation,
) -> AsyncIterator[Marketplace]:
    """A marketplace without a worker; its task queue is its own."""
    async with open_marketplace(
        mongodb, mongodb_settings, temporal_address, documentation
    ) as market:
        yield market


@pytest.fixture
async def market(idle_market: Marketplace) -> AsyncIterator[Marketplace]:
    """A marketplace with a worker."""
    async with idle_market.working():
        yield idle_market


@pytest.fixture
async def seller(idle_market: Marketplace) -> Person:
    return await idle_market.somebody()


@pytest.fixture
async def buyer(idle_market: Marketplace) -> Person:
    return await idle_market.somebody()


@pytest.fixture
async def other_buyer(idle_market: Marketplace) -> Person:
    return await idle_market.somebody()
