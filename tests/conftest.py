"""Fixtures that every test may use: real servers, a database of one's own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from devstack.mongodb import running_mongod
from stripe_sandbox.testing import RunningSandbox, running_sandbox
from ticketing.mongodb import BSONDocument, connect_mongodb
from ticketing.payments.gateway import StripeGateway
from ticketing.settings import MongoDBSettings, StripeApiSettings


@pytest.fixture(scope="session")
def mongodb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a replica set that lives as long as the test run."""
    directory: Path = tmp_path_factory.mktemp("mongodb")
    with running_mongod(directory) as url:
        yield url


@pytest.fixture
def mongodb_settings(mongodb_url: str) -> MongoDBSettings:
    """Settings that name a database which no other test uses."""
    return MongoDBSettings(url=SecretStr(mongodb_url), database=f"test_{uuid4().hex}")


@pytest.fixture
async def mongodb(
    mongodb_settings: MongoDBSettings,
) -> AsyncIterator[AsyncMongoClient[BSONDocument]]:
    """A connected client; the documents are bound to the test's own database."""
    client = await connect_mongodb(mongodb_settings)
    yield client
    await client.drop_database(mongodb_settings.database)
    await client.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    """A Stripe of the test's own."""
    async with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def gateway(sandbox: RunningSandbox) -> AsyncIterator[StripeGateway]:
    """The gateway to it, through the official client."""
    gateway = StripeGateway(
        StripeApiSettings(api_key=SecretStr("sk_test_sandbox"), api_base=sandbox.url)
    )
    yield gateway
    await gateway.close()
