"""Signing up, in and out."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from httpx import AsyncClient, Response

from api.app import create_app
from api.users.passwords import MEMORY_KIB, PARALLELISM, TIME_COST, Passwords
from tests.api.conftest import (
    PASSWORD,
    Mongo,
    assert_problem,
    cookie_of,
    current_user,
    sign_in,
    sign_up,
    visit,
)
from tests.resources import exchange
from ticketing.models import User
from ticketing.settings import ApiSettings, SessionSettings

LONGEST_EMAIL = "a" * 64 + "@" + ".".join(["b" * 61] * 3) + ".com"
JSON = {"Content-Type": "application/json"}


async def test_signing_up_makes_an_account_and_a_session(client: AsyncClient) -> None:
    answer = await client.post(
        "/api/users/signup", json={"email": "ada@example.com", "password": PASSWORD}
    )

    assert answer.status_code == 201
    assert answer.json().keys() == {"id", "email"}
    assert answer.json()["email"] == "ada@example.com"
    assert await current_user(client) == answer.json()


async def test_a_password_is_stored_as_an_argon2id_hash(client: AsyncClient) -> None:
    await sign_up(client, email="ada@example.com")

    user = await User.find_one({"email": "ada@example.com"})
    assert user is not None
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.model_dump_json()


async def test_signing_in_gives_a_session(app: FastAPI, client: AsyncClient) -> None:
    ada = await sign_up(client, email="ada@example.com")

    async with visit(app) as elsewhere:
        answer = await sign_in(elsewhere, "ADA@example.com")
        assert (answer.status_code, answer.json()) == (200, ada)
        assert await current_user(elsewhere) == ada


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    client: AsyncClient,
) -> None:
    await sign_up(client, email="ada@example.com")

    wrong = await sign_in(client, "ada@example.com", "incorrect horse")
    unknown = await sign_in(client, "nobody@example.com")

    assert_problem(wrong, 401, "invalid_credentials")
    assert wrong.json() == unknown.json()
    assert "Set-Cookie" not in wrong.headers


@pytest.fixture(autouse=True)
def cheap_hashes() -> None:
    """None here: these are the hashes of a server."""


class RecordingPasswords(Passwords):
    def __init__(self) -> None:
        super().__init__()
        self.verified: list[str] = []

    def _matches(self, password_hash: str, password: str) -> bool:
        self.verified.append(password_hash)
        return super()._matches(password_hash, password)


async def test_a_wrong_password_and_an_unknown_address_cost_the_same_work(
    app: FastAPI, client: AsyncClient
) -> None:
    await sign_up(client, email="ada@example.com")
    passwords = RecordingPasswords()
    exchange(app, passwords=passwords)

    await sign_in(client, "ada@example.com", "incorrect horse")
    await sign_in(client, "nobody@example.com")

    costs = [password_hash.rsplit("$", 2)[0] for password_hash in passwords.verified]
    assert len(costs) == 2
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    "spelling", ["\uff41da@example.com", "a\u00adda@example.com", "a\u0000da@example.com"]
)
async def test_a_spelling_that_only_the_index_takes_for_the_same_costs_the_same_work(
    app: FastAPI, client: AsyncClient, spelling: str
) -> None:
    await sign_up(client, email="ada@example.com")
    passwords = RecordingPasswords()
    exchange(app, passwords=passwords)

    await client.post("/api/users/token", data={"username": spelling, "password": PASSWORD})

    assert len(passwords.verified) == 1


async def test_a_hash_of_other_days_is_renewed_when_its_password_is_at_hand(
    client: AsyncClient,
) -> None:
    await sign_up(client, email="ada@example.com")
    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    await User.find_one({"email": "ada@example.com"}).update({"$set": {"password_hash": weak}})

    assert (await sign_in(client, "ada@example.com", "a wrong one")).status_code == 401
    assert await stored_hash("ada@example.com") == weak
    assert (await sign_in(client, "ada@example.com")).status_code == 200
    renewed = await stored_hash("ada@example.com")
    assert f"$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}$" in renewed
    assert (await sign_in(client, "ada@example.com")).status_code == 200
    assert await stored_hash("ada@example.com") == renewed


async def stored_hash(email: str) -> str:
    user = await User.find_one({"email": email})
    assert user is not None
    return user.password_hash


async def test_hashing_leaves_the_event_loop_to_others(client: AsyncClient) -> None:
    await sign_up(client, email="ada@example.com")
    finished: list[str] = []

    async def finish(name: str, work: Awaitable[Response]) -> None:
        await work
        finished.append(name)

    await asyncio.gather(
        *(finish("sign-in", sign_in(client, "ada@example.com")) for _ in range(20)),
        finish("health", client.get("/healthz")),
    )

    assert finished[0] == "health"


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@EXAMPLE.COM", "Ada@Example.Com"])
async def test_an_address_is_taken_in_whatever_case(client: AsyncClient, email: str) -> None:
    await sign_up(client, email="Ada@example.com")

    answer = await client.post("/api/users/signup", json={"email": email, "password": PASSWORD})

    assert_problem(answer, 409, "email_taken")
    assert await User.count() == 1


def _in_varied_case(number: int) -> str:
    return "".join(
        letter.upper() if number >> place & 1 else letter for place, letter in enumerate("abcdef")
    )


async def _sign_up_at_once(app: FastAPI, people: int) -> Counter[int]:
    async with visit(app) as client:
        answers = await asyncio.gather(
            *(
                client.post(
                    "/api/users/signup",
                    json={"email": f"{_in_varied_case(n)}@example.com", "password": PASSWORD},
                )
                for n in range(people)
            )
        )
    return Counter(answer.status_code for answer in answers)


async def test_of_fifty_simultaneous_sign_ups_with_one_address_one_succeeds(app: FastAPI) -> None:
    assert await _sign_up_at_once(app, 50) == {201: 1, 409: 49}
    assert await User.count() == 1


async def test_without_the_unique_index_simultaneous_sign_ups_would_share_an_address(
    app: FastAPI,
) -> None:
    await User.get_pymongo_collection().drop_index("email_unique")

    assert (await _sign_up_at_once(app, 20))[201] > 1


@pytest.mark.parametrize(
    "email",
    [
        "test@test.com",
        "a@example.com",
        "o'hara+tickets@mail.example.co.uk",
        "jörg@bücher.example.com",
        "demo@shop.test",
    ],
)
async def test_an_address_is_accepted(client: AsyncClient, email: str) -> None:
    assert (await sign_up(client, email=email))["email"] == email


async def test_the_longest_address_is_accepted(client: AsyncClient) -> None:
    assert len(LONGEST_EMAIL) == 254

    assert (await sign_up(client, email=LONGEST_EMAIL))["email"] == LONGEST_EMAIL


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "ada@example.com"}, "password"),
        ({"password": PASSWORD}, "email"),
        ({"email": "", "password": PASSWORD}, "email"),
        ({"email": "ada", "password": PASSWORD}, "email"),
        ({"email": "ada@", "password": PASSWORD}, "email"),
        ({"email": "ada@localhost", "password": PASSWORD}, "email"),
        ({"email": "Ada <ada@example.com>", "password": PASSWORD}, "email"),
        ({"email": "ada@example.com\u0000", "password": PASSWORD}, "email"),
        ({"email": f"{LONGEST_EMAIL}m", "password": PASSWORD}, "email"),
        ({"email": ["ada@example.com"], "password": PASSWORD}, "email"),
        ({"email": {"$ne": None}, "password": PASSWORD}, "email"),
        ({"email": None, "password": PASSWORD}, "email"),
        ({"email": "ada@example.com", "password": "1234567"}, "password"),
        ({"email": "ada@example.com", "password": "x" * 129}, "password"),
        ({"email": "ada@example.com", "password": 12345678}, "password"),
        ({"email": "ada@example.com", "password": "\ud800" * 8}, "password"),
        ({"email": "ada@example.com", "password": PASSWORD, "admin": True}, "admin"),
        ({"email": "ada@example.com", "password": PASSWORD, "\ud800": True}, "body"),
        ([], "body"),
        ("text", "body"),
        (None, "body"),
    ],
)
async def test_bad_credentials_are_refused_field_by_field(
    client: AsyncClient, body: Any, field: str
) -> None:
    answer = await client.post("/api/users/signup", content=json.dumps(body), headers=JSON)

    problem = assert_problem(answer, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert await User.count() == 0


@pytest.mark.parametrize(
    "password", ["x" * 8, "x" * 128, "🎫" * 8, "🎫" * 128, "\u0000" * 8, " \t\n padded \n"]
)
async def test_any_eight_to_128_characters_are_a_password(
    app: FastAPI, client: AsyncClient, password: str
) -> None:
    await sign_up(client, email="ada@example.com", password=password)

    assert (await sign_in(client, "ada@example.com", password)).status_code == 200
    assert (await sign_in(client, "ada@example.com", password[:-1])).status_code == 401


async def test_a_refusal_never_repeats_the_password(client: AsyncClient) -> None:
    for password in ("hunter2", "hunter2" * 20):
        answer = await client.post(
            "/api/users/signup", json={"email": "nonsense", "password": password}
        )
        assert "hunter2" not in answer.text


async def test_a_password_that_is_too_short_is_a_wrong_one_at_sign_in(client: AsyncClient) -> None:
    await sign_up(client, email="ada@example.com")

    assert_problem(await sign_in(client, "ada@example.com", "x"), 401, "invalid_credentials")


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(client: AsyncClient) -> None:
    answer = await client.post(
        "/api/users/signup", json={"email": "ada@example.com", "password": PASSWORD}
    )

    cookie = cookie_of(answer)
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert cookie["max-age"] == "604800"
    assert not cookie["domain"]
    assert not cookie["secure"]  # as the settings of these tests say


async def test_the_cookie_is_secure_unless_a_setting_says_otherwise(
    mongodb: Mongo, api_settings: ApiSettings
) -> None:
    session = SessionSettings(jwt_keys=api_settings.session.jwt_keys)
    app = create_app(api_settings.model_copy(update={"session": session}))
    async with app.router.lifespan_context(app), visit(app) as client:
        answer = await client.post(
            "/api/users/signup", json={"email": "ada@example.com", "password": PASSWORD}
        )
        assert cookie_of(answer)["secure"]
        assert cookie_of(await client.post("/api/users/signout", json={}))["secure"]


async def test_nobody_is_the_current_user_without_a_session(client: AsyncClient) -> None:
    answer = await client.get("/api/users/currentuser")

    assert (answer.status_code, answer.json()) == (200, {"currentUser": None})
