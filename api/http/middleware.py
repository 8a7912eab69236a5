"""Middleware for every request, in plain ASGI: limits, encoding, id, log line and headers."""

import asyncio
import logging
import re
import time
from datetime import timedelta
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
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

MAX_HEAD_BYTES = 32 * 1024
"""Target and headers together. As nginx's default: four buffers of 8 KiB."""
MAX_HEADERS = 100
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT = timedelta(seconds=30)
"""For the largest body that is 2 KiB a second, as on a phone with poor reception."""
CLOSE_CONNECTION = {"Connection": "close"}
"""For an answer to a request whose remaining bytes are not going to be read."""

MULTIPART_FORM = "multipart/form-data"
URL_ENCODED_FORM = "application/x-www-form-urlencoded"
CHARSET = re.compile(r";\s*charset[^=;]*=([^;]*)", re.IGNORECASE)
UTF_8 = frozenset({"utf-8", '"utf-8"', "utf8", '"utf8"'})
NOT_ASCII = re.compile(rb"[\x80-\xff]")

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Answers of the API are data: a browser that displays one must not run or fetch anything in it.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    # Answers are private, or outdated with the next reservation.
    "Cache-Control": "no-store",
}
STRICT_TRANSPORT_SECURITY = "max-age=31536000"

DOCS_PATH = "/docs"
DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    # Swagger UI uses an inline script and inline styles.
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class RequestLogMiddleware:
    """Gives each request an id, logs it without its query, and answers a bug with a plain 500."""

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        new_request_id = _request_id_for(scope)
        status = 0
        started_at = time.perf_counter()

        async def send_with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = new_request_id
            await send(message)

        token, order_token = request_id.set(new_request_id), order_id.set(None)
        try:
            await self._app(scope, receive, send_with_request_id)
        except ClientDisconnect:
            pass  # nobody reads an answer
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # the answer has begun; the server can only abort it
            await self._render(scope, TicketingError(), None)(scope, receive, send_with_request_id)
        finally:
            duration = (time.perf_counter() - started_at) * 1000
            # %r: the path is percent-decoded, and a line break in it would forge a log line.
            access_logger.info("%s %r %d %.1f ms", scope["method"], scope["path"], status, duration)
            request_id.reset(token)
            order_id.reset(order_token)


class SecurityHeadersMiddleware:
    """Keeps browsers from sniffing types, running, framing, leaking and caching answers."""

    def __init__(self, app: ASGIApp, *, is_served_over_https: bool) -> None:
        self._app = app
        self._headers = dict(SECURITY_HEADERS)
        if is_served_over_https:
            self._headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith(DOCS_PATH):
                    headers.setdefault("Content-Security-Policy", DOCS_POLICY)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLimitMiddleware:
    """Refuses a request whose head or body is too large, or whose body does not arrive in time.

    FastAPI's own `max_body_size` answers in plain text on routes that read no body.
    """

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _is_head_too_large(scope):
            await self._render(scope, RequestHeadTooLarge(), CLOSE_CONNECTION)(scope, receive, send)
            return
        content_length = Headers(scope=scope).get("content-length", "")
        if content_length.isdecimal() and int(content_length) > MAX_BODY_BYTES:
            await self._render(scope, ContentTooLarge(), None)(scope, receive, send)
            return
        received = 0
        deadline: float | None = None
        is_complete = is_answered = False

        def refuse(error: type[TicketingError], headers: dict[str, str] | None = None) -> Message:
            if is_answered:
                return {"type": "http.disconnect"}
            # FastAPI lets only HTTPException pass while it reads a body.
            raise HTTPException(error.status, headers=headers)

        async def receive_within_limits() -> Message:
            nonlocal received, deadline, is_complete
            if is_complete:
                return await receive()  # waits for the client's disconnect
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT.total_seconds()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                return refuse(RequestTimeout, CLOSE_CONNECTION)
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                return refuse(ContentTooLarge)
            is_complete = not message.get("more_body", False)
            return message

        async def send_tracked(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        await self._app(scope, receive_within_limits, send_tracked)


def _is_head_too_large(scope: Scope) -> bool:
    target = len(scope["path"]) + len(scope["query_string"])
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["headers"]) > MAX_HEADERS or target + headers > MAX_HEAD_BYTES


class EncodingMiddleware:
    """Refuses a body that is declared as anything but plain UTF-8, and a form that is not UTF-8.

    Otherwise Starlette would decode a multipart form with any Python codec that the form names.
    Some codecs raise for every text; others return strings that cannot be encoded again.
    """

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not declares_only_utf8(headers):
            await self._render(scope, UnsupportedMediaType(), None)(scope, receive, send)
            return
        kind = headers.get("content-type", "").lstrip().lower()
        if not kind.startswith((MULTIPART_FORM, URL_ENCODED_FORM)):
            await self._app(scope, receive, send)  # the JSON parser checks the encoding itself
            return
        is_url_encoded = kind.startswith(URL_ENCODED_FORM)
        read = bytearray()

        async def receive_utf8() -> Message:
            message = await receive()
            body = message.get("body", b"")
            if is_url_encoded and not body.isascii():
                # Percent-encoded, or Starlette would decode each byte as Latin-1.
                body = NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), body)
                message = {**message, "body": body}
            read.extend(body)
            if message["type"] == "http.request" and not message.get("more_body"):
                _require_utf8(unquote_to_bytes(bytes(read)) if is_url_encoded else read)
            return message

        await self._app(scope, receive_utf8, send)


def _require_utf8(text: bytes | bytearray) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        # FastAPI lets only HTTPException pass while it reads a body.
        raise HTTPException(UnsupportedMediaType.status) from None


def declares_only_utf8(headers: Headers) -> bool:
    """Whether the request names no charset but UTF-8, and no content encoding."""
    charsets = CHARSET.findall(";".join(headers.getlist("content-type")))
    encodings = ",".join(headers.getlist("content-encoding")).split(",")
    return all(charset.strip().lower() in UTF_8 for charset in charsets) and all(
        encoding.strip().lower() in ("", "identity") for encoding in encodings
    )


def _request_id_for(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if REQUEST_ID_PATTERN.fullmatch(given) else uuid4().hex
