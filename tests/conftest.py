"""Fixtures that every test may use: one server of each kind for each process of the run."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from api.app import create_app
from api.users import passwords
from devstack.mongodb import running_mongod
from devstack.temporal import running_temporal_dev_server
from stripe_sandbox.testing import RunningSandbox, running_sandbox
from tests.databases import empty
from tests.purchases.contract import Documentation
from tests.settings import api_settings
from ticketing.mongodb import BSONDocument, connect_mongodb
from ticketing.payments.gateway import StripeGateway
from ticketing.settings import MongoDBSettings, StripeApiSettings


@pytest.fixture(scope="session")
def mongodb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a replica set that lives as long as the test run."""
    with running_mongod(tmp_path_factory.mktemp("mongodb")) as url:
        yield url


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Temporal server that lives as long as the test run."""
    with running_temporal_dev_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.fixture(scope="session")
def documentation(mongodb_url: str) -> Documentation:
    """The OpenAPI page, the same for every test: describing the API takes a while."""
    mongodb = MongoDBSettings(url=SecretStr(mongodb_url))
    return Documentation(create_app(api_settings(mongodb)))


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Almost everybody signs up first: hashing as a server does would take longer than the rest."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)


@pytest.fixture
def mongodb_settings(mongodb_url: str) -> MongoDBSettings:
    """One database for all tests: making and dropping one takes longer than most of them."""
    return MongoDBSettings(url=SecretStr(mongodb_url), database="test")


@pytest.fixture
async def mongodb(
    mongodb_settings: MongoDBSettings,
) -> AsyncIterator[AsyncMongoClient[BSONDocument]]:
    """A connected client; the documents are bound to a database that is empty."""
    await empty(mongodb_settings)
    client = await connect_mongodb(mongodb_settings)  # makes an index that a test has dropped
    yield client
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
