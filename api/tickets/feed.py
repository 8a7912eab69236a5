"""The changes of tickets, watched once in each process and told to whoever listens."""

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
    Tickets,
    joined,
    missed_changes,
    watch_tickets,
)
from api.tickets.listener import Listener
from ticketing.errors import MongoDBUnavailable, TooManyStreams

logger = logging.getLogger(__name__)

MAX_STREAMS = 1_000
"""Listeners of one process. A change is written to each of them, and each holds a connection."""
MAX_PENDING = 1_000
"""Changes that wait for one listener. A slower one is better off to come back and catch up."""
MAX_RECENT = 1_000
"""Changes that are remembered for those who come back; a page that was just read needs few."""
MAX_LOOKS_BACK = 4
"""Listeners at a time for whom MongoDB is asked what they have missed."""

LONGEST_WAIT = timedelta(seconds=10)
"""For one's turn and the look together; meanwhile nothing is heard of what happens."""
LONGEST_ABSENCE = timedelta(minutes=10)
"""After this, reading anew costs less than to look through all that has happened."""

KEEP_ALIVE = timedelta(seconds=15)
"""Below the minute after which proxies give up a silent connection."""
RECONNECT = timedelta(seconds=1)

PATIENCE = timedelta(seconds=1)
"""How long somebody waits for the first look at MongoDB."""
PATIENCE_WITH_OTHERS = timedelta(seconds=3)
"""How long a token that another process gave out may be ahead of what this one has seen.

Without changes, both hear only once in `ticket_changes.POLL` how far MongoDB has looked.
"""
PAUSE = timedelta(seconds=0.5)
"""Between two attempts to watch; a MongoDB that is down makes each of them take seconds anyway."""

SECOND = slice(2, 10)
"""Where a resume token holds the second of its change, as hexadecimal digits."""
TOKEN = re.compile("[0-9A-F]+")


class TicketFeed:
    """One change stream of MongoDB, and everybody in this process who listens to it.

    The watch begins with the first use. When it breaks, all listeners are let go: they come back
    with the last token that they heard, and are told what they missed, or that it is lost.
    """

    def __init__(
        self,
        *,
        max_streams: int = MAX_STREAMS,
        max_pending: int = MAX_PENDING,
        max_recent: int = MAX_RECENT,
        keep_alive: timedelta = KEEP_ALIVE,
    ) -> None:
        self._max_streams = max_streams
        self._max_pending = max_pending
        self._max_recent = max_recent
        self._keep_alive = keep_alive
        self._closed = False
        self._watch: asyncio.Task[None] | None = None
        self._watching = asyncio.Event()
        self._position = ""
        self._moved = asyncio.Event()
        self._recent: deque[TicketChange] = deque()
        self._remembered_after = ""
        """All changes after this token are among the recent ones."""
        self._listeners: set[Listener] = set()
        self._looks_back = asyncio.Semaphore(MAX_LOOKS_BACK)

    async def position(self) -> str | None:
        """The token up to which every change is known here; None while MongoDB is not watched.

        A page that asks before it reads the tickets, and lets its stream begin there, misses
        nothing: what changed in between is told then, perhaps once more.
        """
        return self._position if await self._is_watching() else None

    @asynccontextmanager
    async def listen(
        self, after: str = "", tickets: Tickets = frozenset()
    ) -> AsyncIterator[Listener]:
        """Take somebody in who wants to hear of every change after the token, or from now on.

        Raises:
            MongoDBUnavailable: it cannot be watched at the moment.
            TooManyStreams: as many listen already as may.
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
        """The listener's stream as it is sent, until they are let go."""
        yield format_sse_event(retry=int(RECONNECT.total_seconds() * 1000))
        try:
            message = await self._catch_up(listener)
        except PyMongoError:
            return
        while not listener.has_ended:
            yield message
            message = await listener.hear(self._keep_alive) or _here(self._position)

    async def aclose(self) -> None:
        """Let everybody go and stop watching; from now on nobody is taken in."""
        self._closed = True
        self._let_go()
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _is_watching(self) -> bool:
        if self._closed:
            return False
        if self._watch is None or self._watch.done():
            # In a context of its own: what it logs belongs to no request.
            self._watch = asyncio.create_task(self._keep_watching(), context=Context())
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await self._watching.wait()
        except TimeoutError:
            return False
        return True

    async def _keep_watching(self) -> None:
        while True:
            try:
                await self._watch_on()
            except HistoryLost as error:
                logger.warning("changes of tickets are lost, watching anew: %s", error)
                self._forget()
            except PyMongoError as error:
                logger.warning("tickets cannot be watched: %s", type(error).__name__)
            finally:
                self._let_go()
            await asyncio.sleep(PAUSE.total_seconds())

    async def _watch_on(self) -> None:
        """Watch from where the last watch ended, or from now on."""
        async with watch_tickets(self._position) as changes:
            while True:
                self._move_to(changes.position)
                if change := await changes.next():
                    self._tell(change)

    def _tell(self, change: TicketChange) -> None:
        self._recent.append(change)
        if len(self._recent) > self._max_recent:
            self._remembered_after = self._recent.popleft().id
        for listener in self._listeners:
            listener.tell(change)

    def _move_to(self, position: str) -> None:
        if not position:
            return
        self._remembered_after = self._remembered_after or position
        self._position = position
        self._watching.set()
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _forget(self) -> None:
        self._recent.clear()
        self._position = self._remembered_after = ""

    def _let_go(self) -> None:
        self._watching.clear()
        for listener in self._listeners:
            listener.let_go()
        self._wake()

    async def _catch_up(self, listener: Listener) -> bytes:
        """What the listener missed before they came, or that nobody can tell.

        Raises:
            PyMongoError: MongoDB does not respond.
        """
        if not listener.after:
            return _here(listener.since)
        try:
            missed = await self._missed_by(listener)
        except HistoryLost:
            return format_sse_event(event="reset", data_str="{}", id=listener.since)
        heard_until = max([listener.since, listener.after, *(change.id for change in missed)])
        listener.skip_to(heard_until)
        return joined(missed) + _here(heard_until)

    async def _missed_by(self, listener: Listener) -> list[TicketChange]:
        after, since = listener.after, listener.since
        if not TOKEN.fullmatch(after):
            raise HistoryLost("not a token")
        if after > since:
            await self._reach(after, listener)
            return []
        if _seconds_between(after, since) > LONGEST_ABSENCE.total_seconds():
            raise HistoryLost("too long ago")
        if after >= self._remembered_after:
            told = [change for change in self._recent if after < change.id <= since]
            return [change for change in told if listener.wants(change)]
        try:
            async with asyncio.timeout(LONGEST_WAIT.total_seconds()), self._looks_back:
                return await missed_changes(after, since, listener.tickets)
        except TimeoutError:
            raise HistoryLost("too many look back at once") from None

    async def _reach(self, token: str, listener: Listener) -> None:
        """Wait until this process has seen what another one had seen when it gave out the token."""
        try:
            async with asyncio.timeout(PATIENCE_WITH_OTHERS.total_seconds()):
                while self._position < token and not listener.has_ended:
                    await self._moved.wait()
        except TimeoutError:
            raise HistoryLost("not a token of this database") from None


def _seconds_between(earlier: str, later: str) -> int:
    """How much time lies between two tokens, each of which begins with its second.

    Raises:
        HistoryLost: one of them is no token.
    """
    try:
        seconds = [int(token[SECOND], 16) for token in (earlier, later)]
    except ValueError:
        raise HistoryLost("not a token") from None
    return seconds[1] - seconds[0]


def _here(position: str) -> bytes:
    """No event, only where the client is: what it says when it comes back."""
    return format_sse_event(id=position)
