"""A client that listens to ticket changes."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from api.tickets.changes import TicketChange, TicketIds, is_selected, join_messages


class Listener:
    """The changes that are still to be sent to one client."""

    after: str
    """The token of the last change that the client has received; empty to start now."""
    since: str
    """Changes after this token are queued here; earlier ones have to be caught up."""
    has_ended: bool
    """Whether the stream was ended; nothing more is sent."""

    def __init__(self, after: str, since: str, tickets: TicketIds, max_pending: int) -> None:
        self.after = after
        self.since = since
        self.tickets = tickets
        self.has_ended = False
        self._max_pending = max_pending
        self._skip_until = since
        self._pending: list[TicketChange] = []
        self._wake_up = asyncio.Event()

    def wants(self, change: TicketChange) -> bool:
        return is_selected(self.tickets, change)

    def add(self, change: TicketChange) -> None:
        """Queue the change; with too many in the queue, end the stream."""
        if self.has_ended or change.id <= self._skip_until or not self.wants(change):
            return
        self._pending.append(change)
        self._wake_up.set()
        if len(self._pending) > self._max_pending:
            self.end()

    def skip_to(self, token: str) -> None:
        """Drop the changes up to the token, which were caught up already."""
        self._skip_until = token
        self._pending = [change for change in self._pending if change.id > token]

    def end(self) -> None:
        """End the stream: the client reconnects and catches up from its last received change."""
        self.has_ended = True
        self._pending.clear()
        self._wake_up.set()

    async def next_messages(self, timeout: timedelta) -> bytes:
        """Wait for changes and return their messages; empty after the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds()):
                await self._wake_up.wait()
        self._wake_up.clear()
        changes, self._pending = self._pending, []
        return join_messages(changes)
