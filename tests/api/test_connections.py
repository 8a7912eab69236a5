"""Connections over real sockets: who is slow, silent or too talkative does not hold one forever.

The event loop's long timers are the tests' own to turn, so that nothing waits and no slow machine
decides.
"""

import asyncio
import json
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import Context
from datetime import timedelta
from typing import TypeVarTuple

import pytest
import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.app import create_app
from api.http import connections
from api.http.connections import HEAD_TIMEOUT, SEND_TIMEOUT, ConnectionState
from api.http.middleware import BODY_TIMEOUT, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADERS
from api.resources import resources_of
from api.server import HTTP_KEEP_ALIVE, ApiServer
from stripe_sandbox.server import listen
from tests.resources import unconnected
from tests.settings import api_settings
from ticketing.settings import MongoDBSettings

HEAD_SECONDS = HEAD_TIMEOUT.total_seconds()
BODY_SECONDS = BODY_TIMEOUT.total_seconds()
READ_SECONDS = SEND_TIMEOUT.total_seconds()
KEEP_ALIVE_SECONDS = HTTP_KEEP_ALIVE.total_seconds()
DAY_SECONDS = 86_400.0

PATIENCE = 30.0
LONG_TIMER = 5.0

MUCH = 20_000_000
"""Bytes, more than the buffers of both ends take."""

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: holdfast\r\n\r\n"
WAIT = b"GET /api/wait HTTP/1.1\r\nHost: holdfast\r\n\r\n"
STREAM = b"GET /api/stream HTTP/1.1\r\nHost: holdfast\r\n\r\n"
SIGN_IN = b"POST /api/users/signin HTTP/1.1\r\nHost: holdfast\r\nContent-Type: application/json\r\n"


Ts = TypeVarTuple("Ts")


class TurnedLoop(uvloop.Loop):
    """The loop of production, whose timers of seconds run when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        self._timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return float(super().time()) + self._passed

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if delay < LONG_TIMER:
            return super().call_later(delay, callback, *args, context=context)
        timer = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self._timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # asyncio's handles tell their loop

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds
        due = [timer for timer in self._timers if timer.when() <= self.time()]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            if not timer.cancelled():
                timer._run()


class Client:
    """One connection, byte by byte."""

    def __init__(self, server: "Served") -> None:
        self.socket = socket.create_connection(server.address, timeout=PATIENCE)
        # Without it, a second small piece waits for up to 40 ms.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """The next answer: its status, and its body if that is announced."""
        status = int(self.reader.readline().split()[1])
        length = 0
        while (line := self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self.reader.read(length)

    def ask(self, request: bytes = HEALTH) -> int:
        self.send(request)
        return self.answer()[0]

    def wait_until_closed(self) -> bytes:
        """What comes until the server has closed."""
        try:
            return self.reader.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


class Served:
    """A server in a thread."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server
        self.loop = TurnedLoop()
        self.listener = listen("127.0.0.1", 0)
        self.address = self.listener.getsockname()[:2]
        self.clients: list[Client] = []

    def connect(self, first: bytes = b"") -> Client:
        client = Client(self)
        self.clients.append(client)
        client.send(first)
        return client

    def probe(self) -> int:
        """What somebody else is answered; by then, what was sent before has been read."""
        probe = Client(self)
        try:
            return {probe.ask() for _ in range(5)}.pop()
        finally:
            probe.close()

    def let_pass(self, seconds: float) -> None:
        """Let time pass for the server, once it has read what was sent."""
        assert self.probe() == 200
        passed = Future[None]()

        def turn() -> None:
            self.loop.turn(seconds)
            passed.set_result(None)

        self.loop.call_soon_threadsafe(turn)
        passed.result(PATIENCE)
        assert self.probe() == 200

    @contextmanager
    def running(self) -> Iterator["Served"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            for client in self.clients:
                client.close()
            self.server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self.server.serve(sockets=[self.listener]))


@pytest.fixture
def app() -> FastAPI:
    """The API without its databases, and with routes that take their time."""
    settings = api_settings(MongoDBSettings(url=SecretStr("mongodb://x")), "127.0.0.1:1")
    app = create_app(settings)
    app.state.resources = unconnected(settings)
    app.state.may_answer = threading.Event()

    async def until_told() -> None:
        while not app.state.may_answer.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.01)

    async def wait() -> Response:
        await until_told()
        return PlainTextResponse("at last")

    async def stream() -> Response:
        async def lines() -> AsyncIterator[bytes]:
            yield b"first\n"
            await until_told()
            yield b"last\n"

        return StreamingResponse(lines(), headers={"Connection": "close"})

    async def much() -> Response:
        return PlainTextResponse("x" * MUCH)

    app.add_api_route("/api/wait", wait)
    app.add_api_route("/api/stream", stream)
    app.add_api_route("/api/much", much)
    return app


def api_server(app: FastAPI) -> ApiServer:
    return ApiServer(app, resources_of(app).settings)


@pytest.fixture
def api(app: FastAPI) -> Iterator[Served]:
    """The API's own server."""
    with Served(api_server(app)).running() as api:
        yield api


@pytest.fixture
def plain(app: FastAPI) -> Iterator[Served]:
    """The same with uvicorn's own protocol."""
    server = api_server(app)
    server.config.http = HttpToolsProtocol
    with Served(server).running() as plain:
        yield plain


LATE_HEADS = {
    "nothing": b"",
    "a line break": b"\r\n",
    "a letter": b"G",
    "a request line": b"GET /healthz HTTP/1.1\r\n",
    "half a header": b"GET /healthz HTTP/1.1\r\nHost: hold",
    "all but the end": HEALTH.removesuffix(b"\r\n"),
}


@pytest.mark.parametrize("sent", LATE_HEADS.values(), ids=LATE_HEADS)
def test_a_connection_that_sends_no_whole_head_is_closed_in_time(api: Served, sent: bytes) -> None:
    late = api.connect(sent)

    api.let_pass(HEAD_SECONDS)

    answer = late.wait_until_closed()
    if sent.strip():
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert json.loads(body)["code"] == "request_timeout"
    else:
        assert answer == b""


@pytest.mark.parametrize("sent", LATE_HEADS.values(), ids=LATE_HEADS)
def test_a_head_may_take_its_time(api: Served, sent: bytes) -> None:
    slow = api.connect(sent)

    api.let_pass(HEAD_SECONDS - 1)

    assert slow.ask(HEALTH.removeprefix(sent)) == 200


@pytest.mark.parametrize("sent", LATE_HEADS.values(), ids=LATE_HEADS)
def test_control_uvicorn_waits_for_a_head_forever(plain: Served, sent: bytes) -> None:
    waiting = plain.connect(sent)

    plain.let_pass(DAY_SECONDS)

    assert waiting.ask(HEALTH.removeprefix(sent)) == 200


DRIBBLES = {
    "line breaks": (b"", b"\r\n"),
    "a header": (b"GET /healthz HTTP/1.1\r\nX: ", b"x"),
    "headers": (b"GET /healthz HTTP/1.1\r\n", b"X: x\r\n"),
    "a body": (SIGN_IN + b"Content-Length: 60000\r\n\r\n", b"x"),
    "a chunk": (SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n", b"x"),
    "chunks": (SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a body that nobody reads": (HEALTH[:-2] + b"Content-Length: 60000\r\n\r\n", b"x"),
    "after an upgrade": (HEALTH[:-2] + b"Upgrade: x\r\nConnection: Upgrade\r\n\r\n", b"x"),
    "after a request": (HEALTH, b"\r\n"),
    "after a stream": (STREAM[:-2] + b"Content-Length: 60000\r\n\r\n", b"x"),
}


def dribble(server: Served, client: Client, piece: bytes) -> None:
    """Send a piece every few seconds for twice as long as anything may take."""
    with suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(15):
            client.send(piece)
            server.let_pass(2 * BODY_SECONDS / 15)


@pytest.mark.parametrize(("begun", "piece"), DRIBBLES.values(), ids=DRIBBLES)
def test_dribbling_does_not_keep_a_connection_open(api: Served, begun: bytes, piece: bytes) -> None:
    client = api.connect(begun)

    dribble(api, client, piece)

    client.wait_until_closed()


def test_control_uvicorn_lets_a_head_be_dribbled_forever(plain: Served) -> None:
    client = plain.connect(b"GET /healthz HTTP/1.1\r\n")

    dribble(plain, client, b"X: x\r\n")

    assert client.ask(b"\r\n") == 200


LATE_BODIES = {
    "announced": b"Content-Length: 100\r\n\r\n",
    "begun": b"Content-Length: 100\r\n\r\n--b",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3\r\n--b\r\n",
}


@pytest.mark.parametrize("rest", LATE_BODIES.values(), ids=LATE_BODIES)
@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (b"/api/users/signin", b"application/json"),
        (b"/api/users/token", b"application/x-www-form-urlencoded"),
        (b"/api/users/token", b"multipart/form-data; boundary=b"),
        (b"/api/webhooks/stripe", b"application/json"),
        (b"/signin", b"application/x-www-form-urlencoded"),
        (b"/signin", b"multipart/form-data; boundary=b"),
    ],
)
def test_a_body_that_does_not_arrive_is_answered_408(
    api: Served, path: bytes, content_type: bytes, rest: bytes
) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: holdfast\r\nContent-Type: %s\r\n"
    late = api.connect(head % (path, content_type) + rest)

    api.let_pass(BODY_SECONDS)

    status, body = late.answer()
    assert status == 408
    assert json.loads(body)["code"] == "request_timeout"
    assert late.wait_until_closed() == b""


def test_a_late_form_is_answered_with_a_page(api: Served) -> None:
    head = b"POST /signin HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nContent-Length: 9\r\n"
    late = api.connect(head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n")

    api.let_pass(BODY_SECONDS)

    status, body = late.answer()
    assert status == 408
    assert b"<title>That did not work" in body


def test_control_without_the_deadline_a_body_is_waited_for_forever(
    plain: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.middleware.BODY_TIMEOUT", timedelta(days=2))
    waiting = plain.connect(SIGN_IN + b"Content-Length: 2\r\n\r\n{")

    plain.let_pass(DAY_SECONDS)

    assert waiting.ask(b"}") == 422


def test_a_slow_body_is_taken_as_long_as_it_is_in_time(api: Served) -> None:
    slow = api.connect(SIGN_IN + b"Content-Length: 20\r\n\r\n")

    for _ in range(20):
        slow.send(b"x")
        api.let_pass((BODY_SECONDS - 1) / 20)

    assert slow.answer()[0] == 422


@pytest.mark.parametrize(
    "headers",
    [
        b"X: x\r\n" * (MAX_HEADERS + 1),
        b"X: x\r\n" * 5_000,
        b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n",
        b"X: " + b"x" * 1_000_000 + b"\r\n",
        b"X" * 1_000_000 + b": x\r\n",
        b"X: " + b"x" * 1_000_000,
    ],
    ids=["too many", "thousands", "a long one", "a megabyte", "a name", "without end"],
)
def test_a_large_head_is_refused(api: Served, headers: bytes) -> None:
    heavy = api.connect(b"GET /healthz HTTP/1.1\r\n")
    with ThreadPoolExecutor() as threads:
        sending = threads.submit(heavy.send, headers + b"\r\n")
        answer = heavy.wait_until_closed()
    sending.exception()  # the server may be gone before all is sent

    # One that still sends when the server closes may be reset before it has read the answer.
    assert answer.startswith(b"HTTP/1.1 431 ") or len(headers) > MAX_HEAD_BYTES
    assert b" 200 " not in answer
    assert api.probe() == 200


def test_a_long_address_is_refused(api: Served) -> None:
    client = api.connect(b"GET /healthz?%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * MAX_HEAD_BYTES))

    assert client.answer()[0] == 431


def test_control_uvicorn_takes_a_head_of_megabytes(plain: Served) -> None:
    client = plain.connect(b"GET /healthz HTTP/1.1\r\nHost: holdfast\r\nX: ")
    client.send(b"x" * MUCH)  # returns when nearly all is read
    client.send(b"\r\n\r\n")

    assert client.answer()[0] == 431  # by the middleware, which counts what is there


@pytest.mark.parametrize("rest", [b"0\r\nX: ", b"1;x="], ids=["a trailer", "a chunk's extension"])
def test_what_a_chunked_body_carries_besides_is_bounded(api: Served, rest: bytes) -> None:
    client = api.connect(SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\n" + rest)

    with ThreadPoolExecutor() as threads:
        sending = threads.submit(client.send, b"x" * MUCH)
        assert client.wait_until_closed() == b""
    assert isinstance(sending.exception(), OSError)


def test_many_small_chunks_are_taken(api: Served) -> None:
    chunks = b"20\r\n" + b"x" * 32 + b"\r\n"
    body = chunks * (MAX_BODY_BYTES // 32) + b"0\r\n\r\n"

    assert api.connect().ask(SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\n" + body) == 422


def test_between_requests_a_connection_is_kept_longer(api: Served) -> None:
    kept = api.connect()
    for _ in range(3):
        assert kept.ask() == 200
        api.let_pass(KEEP_ALIVE_SECONDS - 1)
    assert kept.ask() == 200

    api.let_pass(KEEP_ALIVE_SECONDS)

    assert kept.wait_until_closed() == b""


def test_the_next_head_has_its_time_too(api: Served) -> None:
    kept = api.connect()
    assert kept.ask() == 200
    api.let_pass(KEEP_ALIVE_SECONDS - 1)
    kept.send(b"GET /healthz HTTP/1.1\r\n")
    api.let_pass(HEAD_SECONDS - 1)
    assert kept.ask(b"Host: x\r\n\r\n") == 200
    kept.send(b"GET /healthz HTTP/1.1\r\n")

    api.let_pass(HEAD_SECONDS)

    assert kept.answer()[0] == 408
    assert kept.wait_until_closed() == b""


def test_a_body_that_comes_after_its_answer_ends_nothing(api: Served) -> None:
    kept = api.connect()
    assert kept.ask(HEALTH[:-2] + b"Content-Length: 2\r\n\r\n") == 200
    kept.send(b"x")
    api.let_pass(1)
    kept.send(b"x")

    api.let_pass(KEEP_ALIVE_SECONDS - 1)

    assert kept.ask() == 200


def test_answers_take_as_long_as_they_take(api: Served, app: FastAPI) -> None:
    waiting, pipelined, streaming = (
        api.connect(WAIT),
        api.connect(WAIT + HEALTH + WAIT[:9]),
        api.connect(STREAM),
    )

    api.let_pass(DAY_SECONDS)
    app.state.may_answer.set()

    assert waiting.answer() == (200, b"at last")
    assert [pipelined.answer()[0] for _ in range(2)] == [200, 200]
    assert streaming.wait_until_closed().endswith(b"last\n\r\n0\r\n\r\n")


def test_a_stream_ends_quietly_when_its_request_is_never_whole(
    api: Served, caplog: pytest.LogCaptureFixture
) -> None:
    client = api.connect(STREAM[:-2] + b"Content-Length: 9\r\n\r\n")

    api.let_pass(BODY_SECONDS)

    assert b"last" not in client.wait_until_closed()
    assert "Traceback" not in caplog.text


def test_who_does_not_read_is_let_go(api: Served) -> None:
    deaf = api.connect(b"GET /api/much HTTP/1.1\r\nHost: x\r\n\r\n")

    api.let_pass(READ_SECONDS)

    assert len(deaf.wait_until_closed()) < MUCH


def test_control_uvicorn_waits_for_a_reader_forever(plain: Served) -> None:
    deaf = plain.connect(b"GET /api/much HTTP/1.1\r\nHost: x\r\n\r\n")

    plain.let_pass(DAY_SECONDS)

    assert len(deaf.answer()[1]) == MUCH


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HTTP/1.1\r\nX: ", SIGN_IN + b"Content-Length: 9\r\n\r\n{", HEALTH],
    ids=["silent", "half a head", "half a body", "kept"],
)
def test_there_is_room_for_a_probe_however_many_connections_wait(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 5)
    with Served(api_server(app)).running() as api:
        busy = api.connect(WAIT)
        assert api.probe() == 200  # so that one is being answered
        for _ in range(20):
            api.connect(begun)
        probe = api.connect()

        assert probe.ask() == 200
        while len(api.server.server_state.connections) > 5:
            assert probe.ask() == 200
        app.state.may_answer.set()
        assert busy.answer() == (200, b"at last")


def test_when_all_connections_are_being_answered_one_more_is_closed(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    with Served(api_server(app)).running() as api:
        busy = [api.connect(STREAM) for _ in range(3)]
        for client in busy:
            assert client.answer()[0] == 200

        assert api.connect().wait_until_closed() == b""
        app.state.may_answer.set()
        assert all(client.wait_until_closed().endswith(b"0\r\n\r\n") for client in busy)


def test_who_waits_for_its_client_does_not_hold_up_the_end(app: FastAPI) -> None:
    with Served(api_server(app)).running() as api:
        for sent in LATE_HEADS.values():
            api.connect(sent)
        assert api.probe() == 200


def test_a_process_asks_for_the_files_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (1_024, 1_048_576)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.update(now=wanted))

    assert ConnectionState().max_connections == connections.MAX_CONNECTIONS
    assert limits["now"] == (connections.MAX_CONNECTIONS + connections.RESERVED_FILES, 1_048_576)

    limits["now"] = (256, 1_024)
    assert ConnectionState().max_connections == 1_024 - connections.RESERVED_FILES
