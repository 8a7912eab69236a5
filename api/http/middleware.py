"""What happens to every request, in plain ASGI: its limits, encoding, id, log line and headers."""

import asyncio
import logging
import re
import time
from datetime import timedelta
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Render
from ticketing.errors import (
    ContentTooLarge,
    RequestHeadTooLarge,
    RequestTimeout,
    TicketingError,
    UnsupportedMediaType,
)
from ticketing.observability.logs import order_id, request_id

access_logger = logging.getLogger("api.access")
logger = logging.getLogger(__name__)

LARGEST_HEAD = 32 * 1024
"""Address and headers; nginx, too, takes four buffers of 8 KiB unless it is told otherwise."""
MOST_HEADERS = 100
LARGEST_BODY = 64 * 1024
BODY_WITHIN = timedelta(seconds=30)
"""For the largest body, that is 2 KiB a second: a telephone at the edge of its network."""
CLOSE = {"Connection": "close"}
"""For a request of which more may come that nobody is going to read."""

MULTIPART_FORM = "multipart/form-data"
URL_ENCODED_FORM = "application/x-www-form-urlencoded"
CHARSET = re.compile(r";\s*charset[^=;]*=([^;]*)", re.IGNORECASE)
UTF_8 = frozenset({"utf-8", '"utf-8"', "utf8", '"utf8"'})
NOT_ASCII = re.compile(rb"[\x80-\xff]")

REQUEST_ID = "X-Request-Id"
PLAIN_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # An answer is data: nothing in it is ever to be run or fetched, should it be shown as a page.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    # Answers are somebody's own, or change with the next reservation.
    "Cache-Control": "no-store",
}
ONE_YEAR_OF_HTTPS = "max-age=31536000"

DOCS = "/docs"
DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    # Swagger UI starts with a script in the page and sizes its icons in place.
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class RequestLogMiddleware:
    """Names each request, logs it without its query, and turns a bug into a plain 500."""

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = _name_of(scope)
        status = 0
        started_at = time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = name
            await send(message)

        token, order_token = request_id.set(name), order_id.set(None)
        try:
            await self._app(scope, receive, send_named)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # half an answer is out; the server can only cut it off
            await self._render(scope, TicketingError(), None)(scope, receive, send_named)
        finally:
            duration = (time.perf_counter() - started_at) * 1000
            # repr: a path is decoded, and a line break in it would forge a line.
            access_logger.info("%s %r %d %.1f ms", scope["method"], scope["path"], status, duration)
            request_id.reset(token)
            order_id.reset(order_token)


class SecurityHeadersMiddleware:
    """Headers that keep browsers from guessing, running, framing, leaking and caching."""

    def __init__(self, app: ASGIApp, *, is_served_over_https: bool) -> None:
        self._app = app
        self._headers = dict(SECURITY_HEADERS)
        if is_served_over_https:
            self._headers["Strict-Transport-Security"] = ONE_YEAR_OF_HTTPS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith(DOCS):
                    headers.setdefault("Content-Security-Policy", DOCS_POLICY)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLimitMiddleware:
    """Refuses a request with too large a head or body, or whose body does not arrive in time.

    FastAPI's own `max_body_size` answers in plain text where a route reads no body.
    """

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _is_large_head(scope):
            await self._render(scope, RequestHeadTooLarge(), CLOSE)(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > LARGEST_BODY:
            await self._render(scope, ContentTooLarge(), None)(scope, receive, send)
            return
        received = 0
        ends_at: float | None = None
        is_complete = is_answered = False

        def refused(error: type[TicketingError], headers: dict[str, str] | None = None) -> Message:
            if is_answered:
                return {"type": "http.disconnect"}
            # Not the error itself: FastAPI lets only this class through while it reads.
            raise HTTPException(error.status, headers=headers)

        async def receive_within_limits() -> Message:
            nonlocal received, ends_at, is_complete
            if is_complete:
                return await receive()  # it tells of the client's leaving
            if ends_at is None:
                ends_at = asyncio.get_running_loop().time() + BODY_WITHIN.total_seconds()
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await receive()
            except TimeoutError:
                return refused(RequestTimeout, CLOSE)
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                return refused(ContentTooLarge)
            is_complete = not message.get("more_body", False)
            return message

        async def send_noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await self._app(scope, receive_within_limits, send_noted)


def _is_large_head(scope: Scope) -> bool:
    address = len(scope["path"]) + len(scope["query_string"])
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["headers"]) > MOST_HEADERS or address + headers > LARGEST_HEAD


class EncodingMiddleware:
    """Refuses what is said to be, or a form that turns out to be, anything but plain UTF-8.

    Otherwise a multipart form is decoded by whichever codec of Python's it names. Some of them
    raise for any text, others make strings of it that cannot be encoded again.
    """

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _says_plain_utf8(headers):
            await self._render(scope, UnsupportedMediaType(), None)(scope, receive, send)
            return
        kind = headers.get("content-type", "").lstrip().lower()
        if not kind.startswith((MULTIPART_FORM, URL_ENCODED_FORM)):
            await self._app(scope, receive, send)  # JSON's own reader knows of UTF-8
            return
        is_url_encoded = kind.startswith(URL_ENCODED_FORM)
        read = bytearray()

        async def receive_utf8() -> Message:
            message = await receive()
            body = message.get("body", b"")
            if is_url_encoded and not body.isascii():
                # Starlette would take each byte for a character of Latin-1.
                body = NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), body)
                message = {**message, "body": body}
            read.extend(body)
            if message["type"] == "http.request" and not message.get("more_body"):
                _refuse_all_but_utf8(unquote_to_bytes(bytes(read)) if is_url_encoded else read)
            return message

        await self._app(scope, receive_utf8, send)


def _refuse_all_but_utf8(text: bytes | bytearray) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        # Not an UnsupportedMediaType: FastAPI lets only this class through while it reads.
        raise HTTPException(UnsupportedMediaType.status) from None


def _says_plain_utf8(headers: Headers) -> bool:
    charsets = CHARSET.findall(";".join(headers.getlist("content-type")))
    encodings = ",".join(headers.getlist("content-encoding")).split(",")
    return all(charset.strip().lower() in UTF_8 for charset in charsets) and all(
        encoding.strip().lower() in ("", "identity") for encoding in encodings
    )


def _name_of(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if PLAIN_REQUEST_ID.fullmatch(given) else uuid4().hex
