"""How refusals, outages and bugs are told."""

import asyncio
import gzip
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import SecretStr
from pymongo.errors import AutoReconnect, ExecutionTimeout, NetworkTimeout, OperationFailure

from api.app import create_app
from api.http.middleware import MAX_BODY_BYTES
from devstack.mongodb import running_mongod
from tests.api.conftest import Mongo, assert_problem, sign_in, sign_up, visit
from ticketing.errors import CardDeclined, InvalidSignature, TicketReserved
from ticketing.models import Ticket
from ticketing.settings import ApiSettings, MongoDBSettings, RateLimitSettings

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def failing(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of an app whose `/api/fails` raises what `app.state.failure` holds."""

    async def fail() -> None:
        raise app.state.failure

    app.add_api_route("/api/fails", fail)
    async with visit(app) as client:
        yield client


async def test_a_fact_is_told_as_a_problem(app: FastAPI, failing: AsyncClient) -> None:
    app.state.failure = TicketReserved("It is reserved until 14:05 UTC.")

    answer = await failing.get("/api/fails")

    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:problem-type:holdfast:ticket_reserved",
        "title": "The ticket is reserved for an order.",
        "status": 409,
        "detail": "It is reserved until 14:05 UTC.",
        "code": "ticket_reserved",
    }


async def test_a_declined_card_says_why(app: FastAPI, failing: AsyncClient) -> None:
    app.state.failure = CardDeclined("insufficient_funds")

    problem = assert_problem(await failing.get("/api/fails"), 402, "card_declined")

    assert problem["declineCode"] == "insufficient_funds"


async def test_a_bug_is_logged_and_not_explained(
    app: FastAPI, failing: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    app.state.failure = KeyError("a secret of the implementation")

    answer = await failing.get("/api/fails", headers={"X-Request-Id": "find-me"})

    assert_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-Id"] == "find-me"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged.exc_info is not None
    assert logged.exc_info[0] is KeyError


@pytest.mark.parametrize(
    "failure",
    [
        AutoReconnect("gone"),
        NetworkTimeout("slow"),
        ExecutionTimeout("slow", 50),
    ],
)
async def test_an_outage_of_mongodb_is_told(
    app: FastAPI, failing: AsyncClient, failure: Exception
) -> None:
    app.state.failure = failure

    answer = await failing.get("/api/fails")

    assert_problem(answer, 503, "mongodb_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "failure",
    [
        OperationFailure("not a timeout", 2),
        RuntimeError("something else"),
    ],
)
async def test_a_mistake_of_ours_is_no_outage(
    app: FastAPI, failing: AsyncClient, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app.state.failure = failure

    assert_problem(await failing.get("/api/fails"), 500, "internal_error")


@pytest.mark.long
async def test_every_route_says_so_when_mongodb_is_down(
    api_settings: ApiSettings, tmp_path: Path
) -> None:
    with running_mongod(tmp_path) as url:
        mongodb = MongoDBSettings(url=SecretStr(url), database="going_down")
        limits = RateLimitSettings(rate_limits="on")
        app = create_app(api_settings.model_copy(update={"mongodb": mongodb, "limits": limits}))
        lifespan = app.router.lifespan_context(app)
        await lifespan.__aenter__()
        client = visit(app)
        await sign_up(client)
        assert (await client.get("/api/tickets")).status_code == 200
    try:
        ready, *answers = await asyncio.gather(
            client.get("/readyz"),
            client.get("/api/tickets"),
            client.post("/api/tickets", json={"title": "x", "price": 100}),
            client.post("/api/users/signout", json={}),
            sign_in(client, "ada@example.com"),
        )
        for answer in answers:
            assert_problem(answer, 503, "mongodb_unavailable")
            assert answer.headers["Retry-After"] == "2"
        assert "session" in client.cookies  # not signed out, and not told so
        assert assert_problem(ready, 503, "not_ready")["unavailable"] == ["mongodb", "temporal"]
        assert (await client.get("/healthz")).status_code == 200
    finally:
        await client.aclose()
        await lifespan.__aexit__(None, None, None)


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/tickets/", "/api/tickets/x/y"])
async def test_an_unknown_path_is_a_problem_too(client: AsyncClient, path: str) -> None:
    assert_problem(await client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/tickets", "GET, POST"),
        ("/api/orders/1", "GET, DELETE"),
        ("/tickets/1", "GET, HEAD"),
        ("/static/style.css", "GET, HEAD"),
    ],
)
async def test_an_unknown_method_is_told_which_ones_there_are(
    client: AsyncClient, path: str, methods: str
) -> None:
    answer = await client.patch(path, headers={"Accept": "application/json"})

    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == methods


NOT_JSON = [
    b"{",
    b"{'title': 'x'}",
    b"title=x",
    b"\xff\xfe",
    b'{"title": "\xff"}',
    b"[" * 60_000,
    b'{"title": "x", "price": ' + b"9" * 5000 + b"}",
    gzip.compress(b'{"title": "x", "price": 100}', mtime=0),
]


@pytest.mark.parametrize("body", NOT_JSON)
async def test_a_body_that_is_not_json_is_refused(
    client: AsyncClient, seller: AsyncClient, body: Any
) -> None:
    problem = assert_problem(
        await seller.post("/api/tickets", content=body, headers=JSON), 422, "validation_error"
    )
    assert [error["field"] for error in problem["errors"]] == ["body"]
    # Whoever is not signed in hears about that first.
    answer = await client.post("/api/tickets", content=body, headers=JSON)
    assert_problem(answer, 401, "not_authenticated")
    answer = await client.post("/api/users/signin", content=body, headers=JSON)
    assert_problem(answer, 422, "validation_error")
    assert await Ticket.count() == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_json_under_another_name_is_refused(seller: AsyncClient, content_type: str) -> None:
    body = json.dumps({"title": "x", "price": 100})

    answer = await seller.post("/api/tickets", content=body, headers={"Content-Type": content_type})

    problem = assert_problem(answer, 422, "validation_error")
    assert "application/json" in problem["errors"][0]["message"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x+json"])
async def test_json_under_a_longer_name_is_accepted(seller: AsyncClient, content_type: str) -> None:
    body = json.dumps({"title": "x", "price": 100})

    answer = await seller.post("/api/tickets", content=body, headers={"Content-Type": content_type})

    assert answer.status_code == 201


async def test_a_broken_form_is_refused(client: AsyncClient) -> None:
    answer = await client.post(
        "/api/users/token", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )

    assert_problem(answer, 422, "validation_error")


def ticket_of(size: int) -> bytes:
    """A body of that many bytes, wrong only in its title."""
    empty = json.dumps({"title": "", "price": 100})
    return json.dumps({"title": "x" * (size - len(empty)), "price": 100}).encode()


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("send", [bytes, in_chunks], ids=["announced", "chunked"])
async def test_a_body_over_64_kib_is_refused(
    client: AsyncClient, seller: AsyncClient, send: Any
) -> None:
    largest, too_large = ticket_of(MAX_BODY_BYTES), ticket_of(MAX_BODY_BYTES + 1)
    assert len(largest) == 65536

    answer = await seller.post("/api/tickets", content=send(largest), headers=JSON)
    assert_problem(answer, 422, "validation_error")
    for who in (seller, client):
        answer = await who.post("/api/tickets", content=send(too_large), headers=JSON)
        assert_problem(answer, 413, "content_too_large")


@pytest.mark.parametrize("path", ["/nothing", "/healthz", "/api/users/currentuser"])
async def test_a_large_body_is_refused_where_none_is_read(client: AsyncClient, path: str) -> None:
    answer = await client.request("GET", path, content=ticket_of(MAX_BODY_BYTES + 1))

    assert_problem(answer, 413, "content_too_large")


async def test_every_answer_carries_the_headers_that_keep_browsers_careful(
    app: FastAPI, failing: AsyncClient
) -> None:
    app.state.failure = InvalidSignature()

    for path in ("/healthz", "/api/tickets", "/nothing", "/api/fails", "/docs"):
        headers = (await failing.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "geolocation=()" in headers["Permissions-Policy"]
        assert "Strict-Transport-Security" not in headers  # as the settings of these tests say
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


async def test_no_answer_but_the_documentation_may_run_or_fetch_anything(
    client: AsyncClient,
) -> None:
    for path in ("/healthz", "/api/tickets", "/nothing", "/openapi.json"):
        policy = (await client.get(path)).headers["Content-Security-Policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"

    page = await client.get("/docs")
    policies = dict(
        policy.split(" ", 1) for policy in page.headers["Content-Security-Policy"].split("; ")
    )
    for kind, directive in (("script", "script-src"), ("link", "style-src"), ("img", "img-src")):
        assert "'self'" in policies[directive]
        for address in re.findall(rf'<{kind}[^>]* (?:src|href)="([^"]+)"', page.text):
            assert address.startswith("/static-offline-docs/")
            assert (await client.get(address)).status_code == 200
    assert "'unsafe-inline'" in policies["script-src"]
    assert "'unsafe-eval'" not in policies["script-src"]
    assert policies["connect-src"] == "'self'"


async def test_where_sessions_are_secure_browsers_are_told_to_stay_with_https(
    api_settings: ApiSettings, mongodb: Mongo
) -> None:
    session = api_settings.session.model_copy(update={"cookie_secure": True})
    app = create_app(api_settings.model_copy(update={"session": session}))
    async with app.router.lifespan_context(app), visit(app) as client:
        answer = await client.get("/healthz")

    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("given", ["abc-123", "x" * 64])
async def test_a_request_keeps_the_id_that_it_came_with(client: AsyncClient, given: str) -> None:
    answer = await client.get("/healthz", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>", "ä"])
async def test_a_request_gets_another_id_where_its_own_is_not_plain(
    client: AsyncClient, given: str
) -> None:
    answer = await client.get("/healthz", headers={b"X-Request-Id": given.encode()})

    assert len(answer.headers["X-Request-Id"]) == 32


async def test_a_request_is_logged_without_its_query(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="api.access")

    await client.get("/api/tickets", params={"q": "private"})
    await client.get("/forged%0Aline")

    lines = [record.getMessage() for record in caplog.records if record.name == "api.access"]
    assert lines[0].startswith("GET '/api/tickets' 200 ")
    assert lines[1].startswith(r"GET '/forged\nline' 404 ")
