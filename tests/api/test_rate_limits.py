"""How often a password may be tried: by account, by address, over all processes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from limits import RateLimitItemPerSecond
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from api.app import create_app
from api.http.rate_limit_storage import MongoDBRateLimitStorage
from api.http.rate_limits import ORDER_LIMITS, SIGN_IN_LIMITS, SIGN_UP_LIMITS, Limit
from api.resources import resources_of
from api.users.passwords import Passwords
from api.users.service import find_user
from tests.api.conftest import (
    BASE_URL,
    PASSWORD,
    Mongo,
    assert_problem,
    sign_in,
    sign_up,
)
from tests.databases import refusing
from tests.resources import exchange
from tests.waiting import eventually
from ticketing.models import RateLimitWindow, User
from ticketing.mongodb import BSONDocument
from ticketing.settings import ApiSettings, RateLimitSettings

ON = RateLimitSettings(rate_limits="on")
AT_ONE_ADDRESS = next(limit for limit in SIGN_IN_LIMITS if limit.name == "sign-in-account-address")
ANYWHERE = next(limit for limit in SIGN_IN_LIMITS if limit.name == "sign-in-account")
FROM_AN_ADDRESS = next(limit for limit in SIGN_IN_LIMITS if limit.name == "sign-in-address")


@pytest.fixture
def api_settings(api_settings: ApiSettings) -> ApiSettings:
    """As everywhere, but with limits."""
    return api_settings.model_copy(update={"limits": ON})


def visit_from(app: FastAPI, address: str) -> AsyncClient:
    """A client at a network address."""
    return AsyncClient(transport=ASGITransport(app, client=(address, 4711)), base_url=BASE_URL)


@asynccontextmanager
async def instances(settings: ApiSettings, number: int = 2) -> AsyncIterator[list[FastAPI]]:
    """API processes beside each other, with nothing in common but the database."""
    async with AsyncExitStack() as stack:
        apps = [create_app(settings) for _ in range(number)]
        for app in apps:
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield apps


async def guess(client: AsyncClient, email: str, times: int) -> Counter[int]:
    answers = await asyncio.gather(
        *(sign_in(client, email, f"guess {number}") for number in range(times))
    )
    return Counter(answer.status_code for answer in answers)


async def use_up(client: AsyncClient, limit: Limit, email: str) -> None:
    assert await guess(client, email, limit.rate.amount) == {401: limit.rate.amount}


async def stored_windows() -> list[BSONDocument]:
    """As they are now, on the member that took the writes."""
    collection: AsyncCollection[BSONDocument] = RateLimitWindow.get_pymongo_collection()
    return await collection.with_options(read_concern=ReadConcern("local")).find().to_list()


async def _rush(apps: list[FastAPI], size: int) -> Counter[int]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(visit_from(app, "192.0.2.7")) for app in apps]
        answers = await asyncio.gather(
            *(
                sign_in(clients[number % len(clients)], "ada@example.com", "a guess")
                for number in range(size)
            )
        )
    return Counter(answer.status_code for answer in answers)


async def test_a_rush_on_two_processes_gets_exactly_as_many_guesses_as_are_allowed(
    api_settings: ApiSettings, mongodb: Mongo
) -> None:
    async with instances(api_settings) as apps:
        answers = await _rush(apps, 50)

    allowed = AT_ONE_ADDRESS.rate.amount
    assert answers == {401: allowed, 429: 50 - allowed}


async def test_if_looking_and_counting_were_two_steps_a_rush_would_get_more(
    api_settings: ApiSettings, mongodb: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, everybody = MongoDBRateLimitStorage.acquire_entry, asyncio.Barrier(50)

    async def look_then_count(
        self: MongoDBRateLimitStorage, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        _, count = await self.get_moving_window(key, limit, expiry)
        await everybody.wait()
        fits = count + amount <= limit
        return fits and await acquire(self, key, 1_000, expiry, amount)

    monkeypatch.setattr(MongoDBRateLimitStorage, "acquire_entry", look_then_count)
    async with instances(api_settings) as apps:
        answers = await _rush(apps, 50)

    assert answers == {401: 50}


async def test_one_guess_too_many_is_told_when_to_come_back(client: AsyncClient) -> None:
    await use_up(client, AT_ONE_ADDRESS, "ada@example.com")

    answer = await sign_in(client, "ada@example.com")

    assert_problem(answer, 429, "too_many_requests")
    wait = int(answer.headers["Retry-After"])
    assert 3_500 < wait <= 3_600
    assert f'"sign-in-account-address";r=0;t={wait}' in answer.headers["RateLimit"]


async def test_every_answer_tells_how_the_limits_stand(client: AsyncClient) -> None:
    for answer in (
        await sign_in(client, "ada@example.com"),
        await client.post(
            "/api/users/token", data={"username": "ada@example.com", "password": PASSWORD}
        ),
    ):
        assert answer.status_code == 401
        assert answer.headers["RateLimit-Policy"] == (
            '"sign-in-address";q=60;w=60, '
            '"sign-in-account-address";q=20;w=3600, '
            '"sign-in-account";q=50;w=3600'
        )
    states = _states(answer)
    assert {name: state["r"] for name, state in states.items()} == {
        "sign-in-address": 58,
        "sign-in-account-address": 18,
        "sign-in-account": 48,
    }
    assert 0 < states["sign-in-address"]["t"] <= 60
    assert "RateLimit" not in (await client.get("/api/tickets")).headers


def _states(answer: Response) -> dict[str, dict[str, int]]:
    states = {}
    for state in answer.headers["RateLimit"].split(", "):
        name, *values = state.split(";")
        states[name.strip('"')] = {key: int(value) for key, value in (v.split("=") for v in values)}
    return states


async def test_a_success_does_not_give_guesses_back(client: AsyncClient) -> None:
    await sign_up(client, email="ada@example.com")
    for _ in range(AT_ONE_ADDRESS.rate.amount):
        assert (await sign_in(client, "ada@example.com")).status_code == 200

    assert_problem(await sign_in(client, "ada@example.com"), 429, "too_many_requests")


async def test_programs_and_browsers_guess_out_of_one_budget(client: AsyncClient) -> None:
    await use_up(client, AT_ONE_ADDRESS, "ada@example.com")

    answer = await client.post(
        "/api/users/token", data={"username": "ADA@example.com", "password": "a guess"}
    )

    assert_problem(answer, 429, "too_many_requests")


@pytest.mark.parametrize(
    "spelling",
    [
        "ADA@example.com",
        "ada@EXAMPLE.com",
        "\uff41da@example.com",  # a full-width letter
        "\U0001d41ada@example.com",  # a mathematical one
        "a\u00adda@example.com",  # a soft hyphen
        "a\u200dda@example.com",  # a joiner of no width
        "a\u0000da@example.com",
        "\u24d0da@example.com",  # in a circle
    ],
)
async def test_no_other_spelling_of_an_address_is_a_budget_of_its_own(
    app: FastAPI, client: AsyncClient, spelling: str
) -> None:
    """The collation of the index finds an account under many more spellings than two."""
    await sign_up(client, email="ada@example.com")
    assert await find_user(spelling)
    await use_up(client, AT_ONE_ADDRESS, "ada@example.com")

    answer = await client.post(
        "/api/users/token", data={"username": spelling, "password": PASSWORD}
    )

    assert answer.status_code in (401, 429)


async def test_an_address_without_an_account_is_limited_alike(client: AsyncClient) -> None:
    await sign_up(client, email="ada@example.com")
    size = AT_ONE_ADDRESS.rate.amount + 2

    known = await guess(client, "ada@example.com", size)
    unknown = await guess(client, "nobody@example.com", size)

    assert known == unknown == {401: size - 2, 429: 2}


async def test_one_address_cannot_lock_an_owner_out(app: FastAPI) -> None:
    async with visit_from(app, "192.0.2.1") as ada, visit_from(app, "198.51.100.9") as attacker:
        await sign_up(ada, email="ada@example.com")
        await guess(attacker, "ada@example.com", FROM_AN_ADDRESS.rate.amount)

        assert (await sign_in(ada, "ada@example.com")).status_code == 200


async def test_guesses_from_many_addresses_are_limited_together(app: FastAPI) -> None:
    guesses = 0
    for number in range(4):
        async with visit_from(app, f"192.0.2.{number}") as client:
            guesses += (await guess(client, "ada@example.com", AT_ONE_ADDRESS.rate.amount))[401]

    assert guesses == ANYWHERE.rate.amount


async def test_an_address_is_limited_over_all_accounts(app: FastAPI) -> None:
    allowed = FROM_AN_ADDRESS.rate.amount
    async with visit_from(app, "192.0.2.1") as client:
        answers = [
            (await sign_in(client, f"{number}@example.com")).status_code
            for number in range(allowed + 1)
        ]
    assert Counter(answers) == {401: allowed, 429: 1}

    async with visit_from(app, "192.0.2.2") as other:
        assert (await sign_in(other, "0@example.com")).status_code == 401


async def test_sign_ups_are_limited_before_a_password_is_hashed(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    async def hash_nothing(password: str) -> str:
        hashed.append(password)
        return "no hash"

    monkeypatch.setattr(resources_of(app).passwords, "hash", hash_nothing)
    (by_address, _) = SIGN_UP_LIMITS
    async with visit_from(app, "192.0.2.1") as client:
        for number in range(by_address.rate.amount):
            await sign_up(client, email=f"{number}@example.com")
        body = {"email": "one-more@example.com", "password": PASSWORD}
        refused = await client.post("/api/users/signup", json=body)

    assert_problem(refused, 429, "too_many_requests")
    assert len(hashed) == by_address.rate.amount == await User.count()


async def test_asking_which_addresses_have_accounts_is_limited(client: AsyncClient) -> None:
    (_, by_account) = SIGN_UP_LIMITS
    body = {"email": "ada@example.com", "password": PASSWORD}

    answers = [
        (await client.post("/api/users/signup", json=body)).status_code
        for _ in range(by_account.rate.amount + 1)
    ]

    assert Counter(answers) == {201: 1, 409: by_account.rate.amount - 1, 429: 1}


async def test_a_buyer_is_limited_wherever_they_order_from(app: FastAPI) -> None:
    (_, by_account) = ORDER_LIMITS
    async with visit_from(app, "192.0.2.1") as ada, visit_from(app, "192.0.2.1") as bob:
        for person in (ada, bob):
            await sign_up(person)
        answers = [(await ask_for_a_ticket(ada)).status_code for _ in range(by_account.rate.amount)]
        assert Counter(answers) == {404: by_account.rate.amount}

        async with visit_from(app, "198.51.100.9") as elsewhere:
            elsewhere.cookies = ada.cookies
            refused = await ask_for_a_ticket(elsewhere)
        assert_problem(refused, 429, "too_many_requests")
        assert _states(refused)["order-account"]["r"] == 0
        assert (await ask_for_a_ticket(bob)).status_code == 404


async def test_buyers_at_one_address_are_limited_together(app: FastAPI) -> None:
    (by_address, by_account) = ORDER_LIMITS
    answers: Counter[int] = Counter()
    for _ in range(by_address.rate.amount // by_account.rate.amount + 1):
        async with visit_from(app, "192.0.2.1") as somebody:
            await sign_up(somebody)
            for _ in range(by_account.rate.amount):
                answers[(await ask_for_a_ticket(somebody)).status_code] += 1

    assert answers == {404: by_address.rate.amount, 429: by_account.rate.amount}


async def test_whoever_has_not_signed_in_is_told_so_and_not_counted(client: AsyncClient) -> None:
    assert_problem(await ask_for_a_ticket(client), 401, "not_authenticated")
    assert await stored_windows() == []


async def ask_for_a_ticket(client: AsyncClient) -> Response:
    """There is none; what counts is that somebody asks."""
    return await client.post("/api/orders", json={"ticketId": "6740f3a2c1b5d94e8f1a2b3c"})


class NeverVerifies(Passwords):
    async def verify(self, password_hash: str | None, password: str) -> bool:
        raise AssertionError("a password was verified")


async def test_a_refused_guess_costs_no_hashing(app: FastAPI, client: AsyncClient) -> None:
    await use_up(client, AT_ONE_ADDRESS, "ada@example.com")

    exchange(app, passwords=NeverVerifies())
    assert_problem(await sign_in(client, "ada@example.com"), 429, "too_many_requests")


async def test_no_counter_holds_an_address_of_either_kind(client: AsyncClient) -> None:
    await sign_in(client, "ada@example.com")

    windows = await stored_windows()
    assert len(windows) == len(SIGN_IN_LIMITS)
    for clear in ("ada", "example", "127.0.0.1"):
        assert clear not in repr(windows)


async def test_counters_are_forgotten_when_nothing_is_left_to_count(client: AsyncClient) -> None:
    await sign_in(client, "ada@example.com")

    indexes = await RateLimitWindow.get_pymongo_collection().index_information()
    assert indexes["forgotten_at_expiry"]["expireAfterSeconds"] == 0
    for window in await stored_windows():
        assert window["expires_at"] > window["entries"][-1]


async def test_a_window_moves(mongodb: Mongo) -> None:
    """There is room again as soon as the oldest entry is as old as the window is long."""
    windows, two_a_second = MongoDBRateLimitStorage(), RateLimitItemPerSecond(2)

    async def take() -> bool:
        return await windows.acquire_entry("a", two_a_second.amount, two_a_second.get_expiry())

    assert [await take(), await take(), await take()] == [True, True, False]
    await eventually(take)


async def test_a_window_that_nothing_is_left_of_is_empty(mongodb: Mongo) -> None:
    windows, two_a_second = MongoDBRateLimitStorage(), RateLimitItemPerSecond(2)
    expiry = two_a_second.get_expiry()
    await windows.acquire_entry("a", 2, expiry)

    async def is_empty() -> bool:
        return (await windows.get_moving_window("a", 2, expiry))[1] == 0

    await eventually(is_empty)
    await windows.clear("a")
    assert await windows.reset() == 0


async def test_without_the_database_nobody_gets_past_the_limits(
    app: FastAPI, client: AsyncClient
) -> None:
    exchange(app, passwords=NeverVerifies())

    async with refusing(RateLimitWindow):
        answer = await sign_in(client, "ada@example.com")

    assert_problem(answer, 503, "mongodb_unavailable")


async def test_limits_are_off_where_a_setting_says_so(
    api_settings: ApiSettings, mongodb: Mongo
) -> None:
    off = api_settings.model_copy(update={"limits": RateLimitSettings(rate_limits="off")})
    async with instances(off, 1) as (app,), visit_from(app, "192.0.2.1") as client:
        answers = await guess(client, "ada@example.com", AT_ONE_ADDRESS.rate.amount + 5)
        answer = await sign_in(client, "ada@example.com")
        assert await stored_windows() == []

    assert answers.keys() == {401}
    assert "RateLimit" not in answer.headers
