"""Connections: how many there are, and how long and with how much each waits for its client."""

import asyncio
import resource
from datetime import timedelta
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.http.middleware import LARGEST_HEAD
from api.http.problems import ProblemResponse
from ticketing.errors import RequestHeadTooLarge, RequestTimeout, TicketingError

HEAD_WITHIN = timedelta(seconds=20)
"""For the head of a request, from its first byte or, on a new connection, from the beginning."""
READ_WITHIN = timedelta(seconds=60)
"""For an answer that is waiting to be read: for its last 64 KiB, which is what is kept of it."""
MOST_CONNECTIONS = 2_000
"""Of one process: the streams of ticket events, and as many others. With a head and a body in
each, they take 200 MB."""
OWN_FILES = 200
"""Open files for what is no connection of a client: MongoDB, Temporal, the process itself."""


class ConnectionState(ServerState):
    """All connections of a server."""

    waiting: dict["BoundedProtocol", None]
    """Those that wait for their client, the longest first; the server may close them."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = {}
        self.most = _most_connections()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for its client forever, but between requests.

    - A head is in time, or is answered 408, and is small enough, or is answered 431.
    - Answers are read, or the connection is closed.
    - Where there are too many connections, the one that has waited for its client for the longest
      is closed for the new one. So whoever speaks, as a health probe does, is heard.

    The time for a body is a matter of the middleware's, which can answer as the route would.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        state = cast(ConnectionState, self.server_state)
        self._waiting, self._most = state.waiting, state.most
        self._head_deadline: asyncio.TimerHandle | None = None
        self._reading_deadline: asyncio.TimerHandle | None = None
        self._is_within_head = False
        self._unread_framing = 0
        """Bytes since the last request that are not its body: heads, chunk sizes, trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._waiting[self] = None
        if len(self.connections) > self._most:
            next(iter(self._waiting))._abort()
        self._start_head_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._stop_head_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread_framing += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._start_reading_deadline()  # of the answer to what is no HTTP
        elif self._unread_framing > LARGEST_HEAD:
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
        self._unread_framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._unread_framing = 0
        if self._is_answering():
            self._waiting.pop(self, None)
        else:  # the body of a request that was answered without it
            self._stop_head_deadline()
            self._start_keep_alive()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_answering():
            self._waiting[self] = None
        if self.transport.is_closing():
            self._start_reading_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_reading_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def timeout_keep_alive_handler(self) -> None:
        self._abort()  # to close would be to wait until the last answer is read

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
                HEAD_WITHIN.total_seconds(), self._head_is_late
            )

    def _stop_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _start_reading_deadline(self) -> None:
        if self._reading_deadline is None:
            self._reading_deadline = self.loop.call_later(READ_WITHIN.total_seconds(), self._abort)

    def _head_is_late(self) -> None:
        if self._is_within_head:
            self._refuse(RequestTimeout())
        else:
            self._abort()

    def _refuse(self, error: TicketingError) -> None:
        if self._is_answering():  # another answer would end up in the middle of that one
            self._abort()
            return
        answer = ProblemResponse(error, {"Connection": "close"})
        head = [b"HTTP/1.1 %d %s" % (error.status, error.status.phrase.encode())]
        for name, value in [*self.server_state.default_headers, *answer.raw_headers]:
            head.append(b"%s: %s" % (name, value))
        self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
        self.transport.close()
        self._start_reading_deadline()

    def _abort(self) -> None:
        self._waiting.pop(self, None)
        self.transport.abort()


def _most_connections() -> int:
    """As many as the process may have files, after it has asked for enough of them."""
    wanted = MOST_CONNECTIONS + OWN_FILES
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != files < wanted:
        files = wanted if most_files == resource.RLIM_INFINITY else min(wanted, most_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most_files))
        return max(files - OWN_FILES, files // 2)
    return MOST_CONNECTIONS
