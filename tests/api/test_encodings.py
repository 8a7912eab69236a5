"""Text that is sent is UTF-8; anything else is refused, and is never a mistake of ours."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.http.middleware import EncodingMiddleware
from api.http.problems import render_problem
from tests.api.conftest import BASE_URL, PASSWORD, assert_problem, sign_up
from ticketing.models import Ticket

EMAIL = "ada@example.com"

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"

FOREIGN_CHARSETS = [
    "undefined",
    "idna",
    "punycode",
    "utf-7",
    "utf-16",
    "utf-8-sig",
    "latin-1",
    "unicode_escape",
    "rot13",
    "hex",
    "base64",
    "klingon",
    "",
    "utf-8 x",
    "utf-8\0",
    "x" * 10_000,
    '"undefined"',
    "utf-8; charset=undefined",
    "undefined; charset=utf-8",
]


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


def part(name: str, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        name.encode(),
        value,
    )


def multipart(username: bytes = EMAIL.encode(), password: bytes = PASSWORD.encode()) -> bytes:
    return part("username", username) + part("password", password) + b"--b--\r\n"


async def ask_for_token(client: AsyncClient, content_type: str, body: bytes) -> Response:
    headers = {b"Content-Type": content_type.encode("latin-1")}
    return await client.post("/api/users/token", content=body, headers=headers)


async def read_form(request: Request) -> JSONResponse:
    fields = await request.form()
    return JSONResponse(dict(fields), media_type="text/plain")


@pytest.mark.parametrize("content_type", [MULTIPART, FORM, "Multipart/Form-Data ;boundary=b"])
@pytest.mark.parametrize("charset", FOREIGN_CHARSETS)
async def test_a_form_in_another_charset_is_refused(
    client: AsyncClient, content_type: str, charset: str
) -> None:
    answer = await ask_for_token(client, f"{content_type};\tCharset ={charset}", multipart())

    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("charset", "password"),
    [("undefined", b"x"), ("punycode", b"\xff"), ("utf-7", b"+2AA-"), ("a\0b", b"x")],
)
async def test_control_without_the_guard_a_charset_breaks_the_form(
    charset: str, password: bytes
) -> None:
    app = Starlette(routes=[Route("/", read_form, methods=["POST"])])
    headers = {b"Content-Type": f"{MULTIPART}; charset={charset}".encode()}
    request: dict[str, Any] = {"content": multipart(password=password), "headers": headers}

    async with AsyncClient(transport=ASGITransport(app), base_url=BASE_URL) as client:
        with pytest.raises(ValueError, match=r"undefined|punycode|surrogates|null character"):
            await client.post("/", **request)
    guarded = ASGITransport(EncodingMiddleware(app, render_problem))
    async with AsyncClient(transport=guarded, base_url=BASE_URL) as client:
        assert_problem(await client.post("/", **request), 415, "unsupported_media_type")


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", '; CHARSET="UTF-8"', ";charset=utf8"])
async def test_a_form_in_utf_8_is_read(client: AsyncClient, charset: str) -> None:
    password = "Pässwörter 100% ✓"
    await sign_up(client, email=EMAIL, password=password)
    url_encoded = f"username={EMAIL}&password=P%C3%A4ssw%c3%b6rter+100%25%20✓".encode()

    for content_type, body in [
        (f"{MULTIPART}{charset}", multipart(password=password.encode())),
        (f"{FORM}{charset}", url_encoded),
    ]:
        answer = await ask_for_token(client, content_type, body)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"username=\xff&password=x"),
        (FORM, b"username=%FF&password=x"),
        (FORM, b"username=%ed%a0%80&password=x"),
        (FORM, b"username=x&password=x&%c3=x"),
        (MULTIPART, multipart(password=b"\xe4")),
        (MULTIPART, multipart(username="ada@example.com".encode("utf-16"))),
    ],
)
async def test_a_form_that_turns_out_not_to_be_utf_8_is_refused(
    client: AsyncClient, content_type: str, body: bytes
) -> None:
    assert_problem(await ask_for_token(client, content_type, body), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", multipart()),
        ("multipart/form-data; boundary=", multipart()),
        ('multipart/form-data; boundary="', multipart()),
        ("multipart/form-data; boundary=c", multipart()),
        (f"multipart/form-data; boundary={'b' * 500}", multipart()),
        (MULTIPART, b""),
        (MULTIPART, multipart()[:40]),
        (MULTIPART, multipart().replace(b": form-data", b"")),
        (MULTIPART, multipart().replace(b"form-data; name", b"form-data; name*")),
        (MULTIPART, multipart().replace(b"Content-Disposition", b"Content-Type")),
        (MULTIPART, multipart().replace(b"\r\n", b"\n")),
        (MULTIPART, part("x", b"") * 1_100),
        (MULTIPART, multipart().replace(b'"username"', b'"username"; filename="x"')),
        (FORM, b"username=%zz&%=%&&==;"),
        (FORM, b"\0"),
        (f"{FORM};;;=;\xff", b""),
    ],
)
async def test_a_form_that_cannot_be_taken_apart_is_refused(
    client: AsyncClient, content_type: str, body: bytes
) -> None:
    assert_problem(await ask_for_token(client, content_type, body), 422, "validation_error")


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Type: text/plain; charset=undefined",
        b"Content-Type: \xc3\xa9; charset=utf-16",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: klingon",
    ],
)
async def test_what_a_part_says_of_itself_changes_nothing(
    client: AsyncClient, header: bytes
) -> None:
    await sign_up(client, email=EMAIL)
    body = multipart().replace(b"--b\r\n", b"--b\r\n" + header + b"\r\n")

    assert (await ask_for_token(client, MULTIPART, body)).status_code == 200


@pytest.mark.parametrize("path", ["/api/tickets", "/api/users/token", "/api/webhooks/stripe", "/x"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, deflate", "undefined", "\xff"])
async def test_a_body_with_a_content_encoding_is_refused(
    seller: AsyncClient, path: str, encoding: str
) -> None:
    headers = {b"Content-Type": b"application/json", b"Content-Encoding": encoding.encode()}

    answer = await seller.post(path, content=b'{"title": "x", "price": 100}', headers=headers)

    assert_problem(answer, 415, "unsupported_media_type")
    assert await Ticket.count() == 0


async def test_identity_is_no_encoding(seller: AsyncClient) -> None:
    answer = await seller.post(
        "/api/tickets", json={"title": "x", "price": 100}, headers={"Content-Encoding": "Identity"}
    )

    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/api/tickets", "/api/users/signin", "/api/webhooks/stripe"])
@pytest.mark.parametrize("charset", FOREIGN_CHARSETS)
async def test_json_in_another_charset_is_refused(
    seller: AsyncClient, path: str, charset: str
) -> None:
    headers = {b"Content-Type": f"application/json; charset={charset}".encode()}

    answer = await seller.post(path, content=b"{}", headers=headers)

    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b'{"title": "\\ud800", "price": 100}',
        b'{"\\ud800": "x", "title": "x", "price": 100}',
        b'{"title": "x", "price": NaN}',
        b'{"title": "x", "price": Infinity}',
        b'{"title": "x", "price": 1e999}',
        b'{"title": "x", "price": ' + b"9" * 4_000 + b"}",
        b'{"title": ' + b'{"title": ' * 5_000 + b"1" + b"}" * 5_001,
        b'{"title": ' + b"[" * 900 + b"]" * 900 + b', "price": 100}',
        json.dumps({"title": "x"}).encode("utf-32"),
        b'{"title": "\xed\xa0\x80", "price": 100}',
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_json_that_no_text_or_number_can_be_made_of_is_refused(
    seller: AsyncClient, body: bytes
) -> None:
    answer = await seller.post(
        "/api/tickets", content=body, headers={"Content-Type": "application/json"}
    )

    assert_problem(answer, 422, "validation_error")
    assert await Ticket.count() == 0


@pytest.mark.parametrize("content_type", [MULTIPART, FORM])
async def test_a_form_is_refused_where_json_is_taken(
    app: FastAPI, seller: AsyncClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type}

    for path in ("/api/tickets", "/api/orders", "/api/payments", "/api/users/signin"):
        answer = await seller.post(path, content=multipart(), headers=headers)
        assert_problem(answer, 422, "validation_error")
        answer = await seller.post(path, content=b"\xff", headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")
