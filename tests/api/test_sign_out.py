"""Signing out, and tokens for programs."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.api.conftest import (
    PASSWORD,
    assert_problem,
    cookie_of,
    current_user,
    sign_in,
    sign_up,
    visit,
)
from ticketing.models import RevokedSession


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


async def test_signing_out_clears_the_cookie_and_ends_the_session_everywhere(
    app: FastAPI, client: AsyncClient
) -> None:
    await sign_up(client)
    token = client.cookies["session"]

    answer = await client.post("/api/users/signout", json={})

    assert (answer.status_code, answer.json()) == (200, {})
    assert cookie_of(answer)["max-age"] == "0"
    assert "session" not in client.cookies
    assert await current_user(client, Authorization=f"Bearer {token}") is None
    async with visit(app) as thief:
        thief.cookies["session"] = token
        answer = await thief.post("/api/tickets", json={"title": "Stolen", "price": 100})
        assert_problem(answer, 401, "not_authenticated")


async def test_signing_out_leaves_other_sessions_of_the_user_alone(
    app: FastAPI, client: AsyncClient
) -> None:
    ada = await sign_up(client, email="ada@example.com")
    async with visit(app) as elsewhere:
        await sign_in(elsewhere, "ada@example.com")
        await client.post("/api/users/signout", json={})

        assert await current_user(elsewhere) == ada


async def test_signing_out_without_a_session_changes_nothing(client: AsyncClient) -> None:
    for answer in (
        await client.post("/api/users/signout", json={}),
        await client.post("/api/users/signout"),
    ):
        assert (answer.status_code, answer.json()) == (200, {})
    assert await RevokedSession.count() == 0


async def test_signing_out_refuses_unknown_fields(client: AsyncClient) -> None:
    answer = await client.post("/api/users/signout", json={"everywhere": True})

    assert_problem(answer, 422, "validation_error")


async def test_a_revoked_session_is_forgotten_once_its_token_has_expired(
    client: AsyncClient,
) -> None:
    await sign_up(client)
    await client.post("/api/users/signout", json={})

    revoked = await RevokedSession.find_one()
    assert revoked is not None
    indexes = await RevokedSession.get_pymongo_collection().index_information()
    assert indexes["forgotten_at_expiry"]["expireAfterSeconds"] == 0


async def test_a_program_gets_a_bearer_token(app: FastAPI, client: AsyncClient) -> None:
    ada = await sign_up(client, email="ada@example.com")

    async with visit(app) as program:
        answer = await program.post(
            "/api/users/token",
            data={"grant_type": "password", "username": "ada@example.com", "password": PASSWORD},
        )
        token = answer.json()
        assert answer.status_code == 200
        assert token.keys() == {"access_token", "token_type", "expires_in"}
        assert (token["token_type"], token["expires_in"]) == ("bearer", 604800)
        assert "Set-Cookie" not in answer.headers
        bearer = f"Bearer {token['access_token']}"
        assert await current_user(program, Authorization=bearer) == ada


async def test_a_program_with_wrong_credentials_gets_no_token(client: AsyncClient) -> None:
    form = {"username": "nobody@example.com", "password": PASSWORD}

    answer = await client.post("/api/users/token", data=form)

    assert_problem(answer, 401, "invalid_credentials")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("form", [{}, {"username": "ada@example.com"}, {"password": PASSWORD}])
async def test_a_token_needs_both_credentials(client: AsyncClient, form: dict[str, str]) -> None:
    answer = await client.post("/api/users/token", data=form)

    assert_problem(answer, 422, "validation_error")
