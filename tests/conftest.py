"""Fixtures that every test may use: one server of each kind for each process of the run."""

from collections.abc import AsyncIterator, Iterator

import pytest
from beanie import init_beanie
from fastapi import FastAPI
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from xdist.remote import Producer
from xdist.scheduler import Scheduling

from api.app import create_app
from api.resources import resources_of
from api.users import passwords
from devstack import ports
from devstack.mongodb import running_mongod
from devstack.temporal import running_temporal_dev_server
from stripe_sandbox.testing import RunningSandbox, running_sandbox
from tests.databases import empty
from tests.purchases.contract import Documentation
from tests.scheduling import SlowFilesFirst, put_slow_files_first
from tests.settings import api_settings, settings_of_an_api_alone
from ticketing.models import DOCUMENT_MODELS
from ticketing.mongodb import BSONDocument, connect_mongodb
from ticketing.payments.gateway import StripeGateway
from ticketing.settings import MongoDBSettings, StripeApiSettings

CHEAP_KIB = 8
"""The least memory that argon2 takes for a hash."""


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of a run ports of its own, since a port is free until its server starts."""
    if worker := getattr(config, "workerinput", None):
        number = int(worker["workerid"].removeprefix("gw"))
        ports.PORT_RANGE = ports.PORT_RANGE[number :: worker["workercount"]]


@pytest.hookimpl(trylast=True)  # others shuffle them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_slow_files_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    return SlowFilesFirst(config, log) if config.getvalue("dist") == "loadfile" else None


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


@pytest.fixture(scope="session")
async def lasting_app(mongodb_url: str) -> AsyncIterator[FastAPI]:
    """An API with its lifespan running; starting one takes longer than most tests of it."""
    mongodb = MongoDBSettings(url=SecretStr(mongodb_url), database="test_lasting_app")
    with pytest.MonkeyPatch.context() as cheap_hashes:
        cheap_hashes.setattr(passwords, "MEMORY_KIB", CHEAP_KIB)
        app = create_app(settings_of_an_api_alone(mongodb))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def shared_app(lasting_app: FastAPI) -> FastAPI:
    """It has an empty database, to which the documents are bound; the test leaves it as it is."""
    mongodb = resources_of(lasting_app).settings.mongodb
    await empty(mongodb)
    database = resources_of(lasting_app).mongo[mongodb.database]
    await init_beanie(database=database, document_models=DOCUMENT_MODELS, skip_indexes=True)
    return lasting_app


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Almost everybody signs up first: hashing as a server does would take longer than the rest."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", CHEAP_KIB)


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
