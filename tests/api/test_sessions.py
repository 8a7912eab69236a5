"""Tokens: which are believed, where they travel, and whose pages may use them."""

import base64
import hmac
import json
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import jwt
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import SecretStr

from api.app import create_app
from api.users.sessions import key_id
from tests.api.conftest import (
    BASE_URL,
    PASSWORD,
    Mongo,
    assert_problem,
    list_ticket,
    sign_up,
    visit,
)
from tests.settings import JWT_KEY
from ticketing.clock import utc_now
from ticketing.settings import ApiSettings, SessionSettings

TIMES = ("iat", "exp")
OTHER_KEY = "another-key-that-is-long-enough-too"


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


def claims(**changes: Any) -> dict[str, Any]:
    """What a valid token says; None leaves a claim out."""
    valid = {
        "iss": "holdfast",
        "sub": "6740f3a2c1b5d94e8f1a2b3c",
        "email": "ada@example.com",
        "jti": "a-session",
        "iat": utc_now(),
        "exp": utc_now() + timedelta(hours=1),
    }
    return {name: value for name, value in {**valid, **changes}.items() if value is not None}


def sign(
    payload: dict[str, Any],
    *,
    key: str = JWT_KEY,
    kid: str | None = key_id(SecretStr(JWT_KEY)),
    algorithm: str = "HS256",
) -> str:
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers)


def unsigned(payload: dict[str, Any]) -> str:
    return jwt.encode(payload, "", algorithm="none", headers={"kid": key_id(SecretStr(JWT_KEY))})


def under(header: object, payload: dict[str, Any] | None = None) -> str:
    """Signed with the right key, by HMAC-SHA256, under whatever the header claims."""
    times = {name: int(value.timestamp()) for name, value in claims().items() if name in TIMES}
    parts = [_encoded(header), _encoded({**claims(), **times, **(payload or {})})]
    signature = hmac.digest(JWT_KEY.encode(), ".".join(parts).encode(), "sha256")
    return ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])


def _encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def tampered(token: str, **changes: Any) -> str:
    header, body, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**said, **changes}).encode()).decode()
    return ".".join([header, forged.rstrip("="), signature])


async def is_believed(client: AsyncClient, token: str) -> bool:
    """By both ways in; they must agree."""
    body = {"title": "A ticket", "price": 100}
    by_header = await client.post(
        "/api/tickets", json=body, headers={"Authorization": f"Bearer {token}"}
    )
    by_cookie = await client.post("/api/tickets", json=body, headers={"Cookie": f"session={token}"})
    assert by_header.status_code == by_cookie.status_code
    if by_header.status_code == 201:
        return True
    assert_problem(by_header, 401, "not_authenticated")
    return False


async def test_a_token_that_we_signed_is_believed(client: AsyncClient) -> None:
    assert await is_believed(client, sign(claims()))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": utc_now() - timedelta(seconds=1)},
        {"iss": "somebody-else"},
        {"iss": None},
        {"sub": None},
        {"sub": "not-an-id"},
        {"sub": ""},
        {"sub": 7},
        {"email": None},
        {"jti": None},
        {"exp": None},
        {"iat": None},
    ],
)
async def test_a_token_that_is_expired_or_incomplete_is_refused(
    client: AsyncClient, changes: dict[str, Any]
) -> None:
    payload = claims(**changes)
    if isinstance(payload.get("sub"), int):
        payload["sub"] = "7"

    assert not await is_believed(client, sign(payload))


@pytest.mark.parametrize(
    "token",
    [
        sign(claims(), key=OTHER_KEY),
        sign(claims(), key=OTHER_KEY, kid=key_id(SecretStr(OTHER_KEY))),
        sign(claims(), kid="unknown"),
        sign(claims(), kid=None),
        sign(claims(), key=JWT_KEY * 2, algorithm="HS512"),
        unsigned(claims()),
        tampered(sign(claims()), sub="6740f3a2c1b5d94e8f1a2b3d"),
        sign(claims())[:-2],
        sign(claims()).rsplit(".", 1)[0] + ".",
        "",
        ".",
        "..",
        "a.b.c",
        "null",
        "e30.e30.e30",
    ],
)
async def test_a_forged_token_is_refused(client: AsyncClient, token: str) -> None:
    assert not await is_believed(client, token)


KID = key_id(SecretStr(JWT_KEY))


async def test_what_is_forged_below_would_be_believed_with_the_right_header(
    client: AsyncClient,
) -> None:
    assert await is_believed(client, under({"alg": "HS256", "kid": KID, "typ": "JWT"}))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": KID},
        {"alg": "NONE", "kid": KID},
        {"alg": "hs256", "kid": KID},
        {"alg": "RS256", "kid": KID},
        {"alg": "ES256", "kid": KID},
        {"alg": "HS384", "kid": KID},
        {"alg": ["HS256"], "kid": KID},
        {"alg": None, "kid": KID},
        {"kid": KID},
        {"alg": "HS256"},
        {"alg": "HS256", "kid": None},
        {"alg": "HS256", "kid": ""},
        {"alg": "HS256", "kid": [KID]},
        {"alg": "HS256", "kid": {"$ne": 1}},
        {"alg": "HS256", "kid": "../../etc/hostname"},
        {"alg": "HS256", "kid": KID, "crit": ["exp"]},
        {"alg": "HS256", "kid": KID, "b64": False},
        [],
        None,
    ],
)
async def test_a_header_that_asks_to_be_verified_otherwise_is_refused(
    client: AsyncClient, header: object
) -> None:
    assert not await is_believed(client, under(header))


@pytest.mark.parametrize(
    "payload",
    [
        {"exp": "never"},
        {"exp": 1e300},
        {"exp": float("inf")},
        {"exp": None},
        {"nbf": 1e11},
        {"jti": {"$ne": None}},
        {"sub": ["6740f3a2c1b5d94e8f1a2b3c"]},
        {"iss": ["holdfast"]},
    ],
)
async def test_a_claim_of_another_kind_is_refused(
    client: AsyncClient, payload: dict[str, Any]
) -> None:
    assert not await is_believed(client, under({"alg": "HS256", "kid": KID}, payload))


async def test_a_key_of_the_same_secret_with_another_algorithm_is_refused(
    client: AsyncClient,
) -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = sign(claims(), algorithm="HS512")

    assert not await is_believed(client, token)


async def test_keys_rotate_without_signing_anybody_out(
    api_settings: ApiSettings, mongodb: Mongo
) -> None:
    """The newest key signs; an older one still verifies until it is taken off the list."""

    def with_keys(*keys: str) -> tuple[FastAPI, AbstractAsyncContextManager[Any]]:
        session = SessionSettings(
            jwt_keys=tuple(SecretStr(key) for key in keys), cookie_secure=False
        )
        app = create_app(api_settings.model_copy(update={"session": session}))
        return app, app.router.lifespan_context(app)

    async def is_known(app: FastAPI, token: str) -> bool:
        async with visit(app) as client:
            return await is_believed(client, token)

    before, before_lifespan = with_keys(JWT_KEY)
    during, during_lifespan = with_keys(OTHER_KEY, JWT_KEY)
    after, after_lifespan = with_keys(OTHER_KEY)
    async with before_lifespan, during_lifespan, after_lifespan:
        async with visit(before) as client:
            await sign_up(client, email="ada@example.com")
            old = client.cookies["session"]
        async with visit(during) as client:
            credentials = {"email": "ada@example.com", "password": PASSWORD}
            await client.post("/api/users/signin", json=credentials)
            new = client.cookies["session"]

        assert jwt.get_unverified_header(new)["kid"] == key_id(SecretStr(OTHER_KEY))
        assert [await is_known(app, old) for app in (before, during, after)] == [True, True, False]
        assert [await is_known(app, new) for app in (before, during, after)] == [False, True, True]


async def test_the_header_counts_where_a_cookie_is_sent_too(
    app: FastAPI, seller: AsyncClient, buyer: AsyncClient
) -> None:
    token = buyer.cookies["session"]
    buyer_says = (await buyer.get("/api/users/currentuser")).json()

    answer = await seller.get(
        "/api/users/currentuser", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.json() == buyer_says

    answer = await seller.post(
        "/api/tickets",
        json={"title": "A ticket", "price": 100},
        headers={"Authorization": "Bearer forged"},
    )
    assert_problem(answer, 401, "not_authenticated")


async def test_signing_out_ends_both_sessions_where_both_are_sent(
    app: FastAPI, seller: AsyncClient, buyer: AsyncClient
) -> None:
    tokens = [seller.cookies["session"], buyer.cookies["session"]]

    await seller.post(
        "/api/users/signout", json={}, headers={"Authorization": f"Bearer {tokens[1]}"}
    )

    async with visit(app) as client:
        assert [await is_believed(client, token) for token in tokens] == [False, False]


async def test_another_scheme_of_authorization_leaves_the_cookie_alone(seller: AsyncClient) -> None:
    answer = await seller.get("/api/users/currentuser", headers={"Authorization": "Basic YTpi"})

    assert answer.json()["currentUser"] is not None


FOREIGN = [
    "https://evil.example",
    "http://holdfast.example.evil.example",
    "http://evil-holdfast.example",
    "http://holdfast.example:8080",
    "http://sub.holdfast.example",
    "ftp://holdfast.example",
    "null",
    "",
    "holdfast.example",
    "http://holdfast.example:port",
    "http://[",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/tickets"),
        ("PUT", "/api/tickets/6740f3a2c1b5d94e8f1a2b3c"),
        ("DELETE", "/api/tickets/6740f3a2c1b5d94e8f1a2b3c"),
        ("POST", "/api/users/signout"),
    ],
)
async def test_a_foreign_page_cannot_act_with_the_cookie(
    seller: AsyncClient, method: str, path: str, origin: str
) -> None:
    answer = await seller.request(
        method, path, json={"title": "A ticket", "price": 100}, headers={"Origin": origin}
    )

    assert_problem(answer, 403, "foreign_origin")


@pytest.mark.parametrize("origin", [*FOREIGN])
@pytest.mark.parametrize("path", ["/api/users/signup", "/api/users/signin"])
async def test_a_foreign_page_cannot_sign_a_browser_in(
    client: AsyncClient, path: str, origin: str
) -> None:
    answer = await client.post(
        path,
        json={"email": "ada@example.com", "password": PASSWORD},
        headers={"Origin": origin},
    )

    assert_problem(answer, 403, "foreign_origin")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "origin", [BASE_URL, f"{BASE_URL}:80", "https://holdfast.example", "HTTP://HOLDFAST.EXAMPLE"]
)
async def test_our_own_pages_act_with_the_cookie(seller: AsyncClient, origin: str) -> None:
    seller.headers["Origin"] = origin

    await list_ticket(seller)


async def test_where_sessions_are_secure_an_unencrypted_page_is_foreign(
    api_settings: ApiSettings, mongodb: Mongo
) -> None:
    session = SessionSettings(jwt_keys=api_settings.session.jwt_keys, cookie_secure=True)
    app = create_app(api_settings.model_copy(update={"session": session}))
    credentials = {"email": "ada@example.com", "password": PASSWORD}

    async with app.router.lifespan_context(app), visit(app) as client:
        answer = await client.post(
            "/api/users/signup", json=credentials, headers={"Origin": "http://holdfast.example"}
        )
        assert_problem(answer, 403, "foreign_origin")
        answer = await client.post(
            "/api/users/signup", json=credentials, headers={"Origin": "https://holdfast.example"}
        )
        assert answer.status_code == 201


async def test_a_foreign_page_may_look(seller: AsyncClient) -> None:
    answer = await seller.get("/api/tickets?seller=me", headers={"Origin": "https://evil.example"})

    assert answer.status_code == 200


async def test_a_bearer_token_is_not_bound_to_an_origin(app: FastAPI, seller: AsyncClient) -> None:
    headers = {
        "Authorization": f"Bearer {seller.cookies['session']}",
        "Origin": "https://partner.example",
    }
    async with visit(app) as program:
        answer = await program.post(
            "/api/tickets", json={"title": "A ticket", "price": 100}, headers=headers
        )

    assert answer.status_code == 201
