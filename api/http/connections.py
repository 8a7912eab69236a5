"""Limits of client connections: their number, their timeouts, and the size of request heads."""

import asyncio
from datetime import timedelta
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.http.middleware import MAX_HEAD_BYTES
from api.http.problems import ProblemResponse
from ticketing.errors import RequestHeadTooLarge, RequestTimeout, TicketingError
from ticketing.open_files import raise_open_files_limit

HEAD_TIMEOUT = timedelta(seconds=20)
"""For receiving a request's head: from its first byte, or from the start of a new connection."""
SEND_TIMEOUT = timedelta(seconds=60)
"""For a client to read the last 64 KiB of an answer, which is how much is buffered."""
MAX_CONNECTIONS = 2_000
"""Per process: the streams of ticket events, and as many others. With a buffered head and body in
each of them they take 200 MB."""
RESERVED_FILES = 200
"""Open files for everything but client connections: MongoDB, Temporal, the process itself."""


class ConnectionState(ServerState):
    """All connections of a server."""

    waiting: dict["BoundedProtocol", None]
    """Connections that wait for their client, longest first; the server may close them."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = {}
        self.max_connections = _connection_limit()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits; by itself it limits only the time between requests.

    - A head that arrives too late is answered 408, one that is too large 431.
    - A connection whose client does not read its answer is closed.
    - With too many connections, the one that has waited longest for its client is closed in favour
      of the new one, so that active clients, such as health probes, are always served.

    The time for a body is limited by the middleware, which can render the error as the route would.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        state = cast(ConnectionState, self.server_state)
        self._waiting, self._max_connections = state.waiting, state.max_connections
        self._head_deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None
        self._is_within_head = False
        self._framing_bytes = 0
        """Bytes since the last request that belong to no body: heads, chunk sizes, trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._waiting[self] = None
        if len(self.connections) > self._max_connections:
            next(iter(self._waiting))._abort()
        self._start_head_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._stop_head_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._framing_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._start_send_deadline()  # uvicorn has answered a malformed request
        elif self._framing_bytes > MAX_HEAD_BYTES:
            self._refuse(RequestHeadTooLarge())
        elif not self._is_answering() and self.timeout_keep_alive_task is None:
            self._start_head_deadline()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_within_head = True

    def on_headers_complete(self) -> None:
        self._is_within_head = False
        self._stop_head_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._framing_bytes = 0
        if self._is_answering():
            self._waiting.pop(self, None)
        else:  # the request was answered before its body was complete
            self._stop_head_deadline()
            self._start_keep_alive()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_answering():
            self._waiting[self] = None
        if self.transport.is_closing():
            self._start_send_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_send_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def timeout_keep_alive_handler(self) -> None:
        self._abort()  # close() would wait until the client has read the last answer

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _start_head_deadline(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(
                HEAD_TIMEOUT.total_seconds(), self._on_head_timeout
            )

    def _stop_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _start_send_deadline(self) -> None:
        if self._send_deadline is None:
            self._send_deadline = self.loop.call_later(SEND_TIMEOUT.total_seconds(), self._abort)

    def _on_head_timeout(self) -> None:
        if self._is_within_head:
            self._refuse(RequestTimeout())
        else:
            self._abort()

    def _refuse(self, error: TicketingError) -> None:
        if self._is_answering():  # a second answer would end up inside the first
            self._abort()
            return
        answer = ProblemResponse(error, {"Connection": "close"})
        head = [b"HTTP/1.1 %d %s" % (error.status, error.status.phrase.encode())]
        for name, value in [*self.server_state.default_headers, *answer.raw_headers]:
            head.append(b"%s: %s" % (name, value))
        self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
        self.transport.close()
        self._start_send_deadline()

    def _abort(self) -> None:
        self._waiting.pop(self, None)
        self.transport.abort()


def _connection_limit() -> int:
    """The maximum number of connections, after raising the process's limit of open files."""
    files = raise_open_files_limit(MAX_CONNECTIONS + RESERVED_FILES)
    return min(MAX_CONNECTIONS, max(files - RESERVED_FILES, files // 2))
