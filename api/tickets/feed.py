"""The feed of ticket changes: one MongoDB change stream per process, sent to all listeners."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import timedelta

from fastapi.sse import format_sse_event
from pymongo.errors import PyMongoError

from api.tickets.changes import (
    HistoryLost,
    TicketChange,
    TicketIds,
    join_messages,
    missed_changes,
    watch_tickets,
)
from api.tickets.listener import Listener
from ticketing.errors import MongoDBUnavailable, TooManyStreams

logger = logging.getLogger(__name__)

MAX_STREAMS = 1_000
"""Listeners per process. Each change is sent to every one, and each holds a connection."""
MAX_PENDING = 1_000
"""Queued changes per listener. A slower one had better reconnect and catch up."""
MAX_RECENT = 1_000
"""Changes kept in memory for clients that reconnect; a page that was just loaded needs few."""
MAX_HISTORY_READS = 4
"""Concurrent reads of missed changes from MongoDB."""

CATCH_UP_TIMEOUT = timedelta(seconds=10)
"""For waiting for a turn and reading the missed changes; nothing is sent meanwhile."""
MAX_ABSENCE = timedelta(minutes=10)
"""After a longer absence, reading the tickets again costs less than reading all changes."""

STREAM_KEEP_ALIVE = timedelta(seconds=15)
"""Below the minute after which proxies close an idle connection."""
RECONNECT_DELAY = timedelta(seconds=1)

WATCH_START_TIMEOUT = timedelta(seconds=1)
"""How long a client waits until the change stream is open."""
MAX_PROCESS_LAG = timedelta(seconds=3)
"""How far another process's token may be ahead of this process's position.

Without changes, MongoDB reports its position only once per `changes.POLL_INTERVAL`.
"""
WATCH_RETRY_INTERVAL = timedelta(seconds=0.5)
"""Between two attempts to open the stream; without MongoDB each attempt takes seconds anyway."""

TOKEN_SECONDS = slice(2, 10)
"""The digits of a resume token that contain the change's Unix time in seconds."""
TOKEN_PATTERN = re.compile("[0-9A-F]+")


class TicketFeed:
    """One change stream of MongoDB and its listeners in this process.

    The stream is opened on first use. When it breaks, all listeners' streams are ended: the clients
    reconnect with the last token they received, and are sent the missed changes or a `reset`.
    """

    def __init__(
        self,
        *,
        max_streams: int = MAX_STREAMS,
        max_pending: int = MAX_PENDING,
        max_recent: int = MAX_RECENT,
        keep_alive: timedelta = STREAM_KEEP_ALIVE,
    ) -> None:
        self._max_streams = max_streams
        self._max_pending = max_pending
        self._max_recent = max_recent
        self._keep_alive = keep_alive
        self._closed = False
        self._watch: asyncio.Task[None] | None = None
        self._watching = asyncio.Event()
        self._position = ""
        self._position_changed = asyncio.Event()
        self._recent: deque[TicketChange] = deque()
        self._recent_after = ""
        """All changes after this token are in `_recent`."""
        self._listeners: set[Listener] = set()
        self._history_reads = asyncio.Semaphore(MAX_HISTORY_READS)

    async def position(self) -> str | None:
        """The token up to which all changes are known here; None while the stream is not open.

        A page that takes the position before it reads the tickets, and starts its stream there,
        misses no change; changes in between are sent, perhaps a second time.
        """
        return self._position if await self._is_watching() else None

    @asynccontextmanager
    async def listen(
        self, after: str = "", tickets: TicketIds = frozenset()
    ) -> AsyncIterator[Listener]:
        """Register a listener for all changes after the token, or from now on.

        Raises:
            MongoDBUnavailable: the change stream is not open at the moment.
            TooManyStreams: this process has the maximum number of listeners.
        """
        if not await self._is_watching():
            raise MongoDBUnavailable
        if len(self._listeners) >= self._max_streams:
            raise TooManyStreams
        listener = Listener(after, self._position, tickets, self._max_pending)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def messages(self, listener: Listener) -> AsyncGenerator[bytes]:
        """The listener's event stream, until it is ended."""
        yield format_sse_event(retry=int(RECONNECT_DELAY.total_seconds() * 1000))
        try:
            message = await self._catch_up(listener)
        except PyMongoError:
            return
        while not listener.has_ended:
            yield message
            message = await listener.next_messages(self._keep_alive) or _position_event(
                self._position
            )

    async def aclose(self) -> None:
        """End all streams and stop watching; no more listeners are accepted."""
        self._closed = True
        self._end_streams()
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _is_watching(self) -> bool:
        if self._closed:
            return False
        if self._watch is None or self._watch.done():
            # In a new context, so that its log lines carry no request id.
            self._watch = asyncio.create_task(self._keep_watching(), context=Context())
        try:
            async with asyncio.timeout(WATCH_START_TIMEOUT.total_seconds()):
                await self._watching.wait()
        except TimeoutError:
            return False
        return True

    async def _keep_watching(self) -> None:
        while True:
            try:
                await self._watch_once()
            except HistoryLost as error:
                logger.warning("ticket changes were lost, watching from now on: %s", error)
                self._forget_history()
            except PyMongoError as error:
                logger.warning("cannot watch tickets: %s", type(error).__name__)
            finally:
                self._end_streams()
            await asyncio.sleep(WATCH_RETRY_INTERVAL.total_seconds())

    async def _watch_once(self) -> None:
        """Watch from the last known position, or from now on, until an error."""
        async with watch_tickets(self._position) as changes:
            while True:
                self._advance(changes.position)
                if change := await changes.next():
                    self._publish(change)

    def _publish(self, change: TicketChange) -> None:
        self._recent.append(change)
        if len(self._recent) > self._max_recent:
            self._recent_after = self._recent.popleft().id
        for listener in self._listeners:
            listener.add(change)

    def _advance(self, position: str) -> None:
        if not position:
            return
        self._recent_after = self._recent_after or position
        self._position = position
        self._watching.set()
        self._notify_waiters()

    def _notify_waiters(self) -> None:
        self._position_changed.set()
        self._position_changed = asyncio.Event()

    def _forget_history(self) -> None:
        self._recent.clear()
        self._position = self._recent_after = ""

    def _end_streams(self) -> None:
        self._watching.clear()
        for listener in self._listeners:
            listener.end()
        self._notify_waiters()

    async def _catch_up(self, listener: Listener) -> bytes:
        """The messages that the listener missed, or a `reset` if they cannot be determined.

        Raises:
            PyMongoError: MongoDB does not respond.
        """
        if not listener.after:
            return _position_event(listener.since)
        try:
            missed = await self._missed_changes(listener)
        except HistoryLost:
            return format_sse_event(event="reset", data_str="{}", id=listener.since)
        position = max([listener.since, listener.after, *(change.id for change in missed)])
        listener.skip_to(position)
        return join_messages(missed) + _position_event(position)

    async def _missed_changes(self, listener: Listener) -> list[TicketChange]:
        after, since = listener.after, listener.since
        if not TOKEN_PATTERN.fullmatch(after):
            raise HistoryLost("not a token")
        if after > since:
            await self._wait_for_position(after, listener)
            return []
        if _seconds_between(after, since) > MAX_ABSENCE.total_seconds():
            raise HistoryLost("too long ago")
        if after >= self._recent_after:
            missed = [change for change in self._recent if after < change.id <= since]
            return [change for change in missed if listener.wants(change)]
        try:
            async with asyncio.timeout(CATCH_UP_TIMEOUT.total_seconds()), self._history_reads:
                return await missed_changes(after, since, listener.tickets)
        except TimeoutError:
            raise HistoryLost("too many clients catch up at once") from None

    async def _wait_for_position(self, token: str, listener: Listener) -> None:
        """Wait until this process has reached another process's token."""
        try:
            async with asyncio.timeout(MAX_PROCESS_LAG.total_seconds()):
                while self._position < token and not listener.has_ended:
                    await self._position_changed.wait()
        except TimeoutError:
            raise HistoryLost("not a token of this database") from None


def _seconds_between(earlier: str, later: str) -> int:
    """The time between two tokens.

    Raises:
        HistoryLost: one of them is not a token.
    """
    try:
        seconds = [int(token[TOKEN_SECONDS], 16) for token in (earlier, later)]
    except ValueError:
        raise HistoryLost("not a token") from None
    return seconds[1] - seconds[0]


def _position_event(position: str) -> bytes:
    """Only an id, without an event: the position that the client sends when it reconnects."""
    return format_sse_event(id=position)
