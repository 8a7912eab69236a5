"""A market of real processes, a real browser, and people who use both."""

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.browser.chromium import running_chromium
from tests.browser.market import Market, Ticket, running_market
from tests.browser.person import LONG, People, Person

expect.set_options(timeout=LONG)


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """uvicorn, `worker.py`, mongod, the Temporal server and the Stripe sandbox."""
    with running_market(tmp_path_factory.mktemp("market")) as market:
        yield market


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium; everybody gets a profile of their own in it."""
    async with running_chromium() as browser:
        yield browser


@pytest.fixture
async def people(browser: Browser, market: Market) -> AsyncIterator[People]:
    """Everybody in a test; whatever goes wrong on their pages fails it."""
    people = People(browser, market)
    yield people
    await people.go_home()
    market.mend_stripe()
    people.watch.assert_nothing_went_wrong()


@pytest.fixture
async def seller(people: People) -> Person:
    return await people.somebody("seller")


@pytest.fixture
async def buyer(people: People) -> Person:
    return await people.somebody("buyer")


@pytest.fixture
def ticket(market: Market) -> Ticket:
    """On sale for $25.00, by somebody else."""
    return market.offer()
