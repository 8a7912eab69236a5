"""Somebody who listens to the changes of tickets."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from api.tickets.changes import TicketChange, Tickets, is_among, joined


class Listener:
    """What somebody has yet to be sent, from the moment on at which they came."""

    after: str
    """The token with which they came: what follows it, they have not heard. Empty for now on."""
    since: str
    """What follows this token is kept for them; up to it they have to catch up."""
    has_ended: bool
    """Whether they were let go; nothing more is to be sent."""

    def __init__(self, after: str, since: str, tickets: Tickets, most: int) -> None:
        self.after = after
        self.since = since
        self.tickets = tickets
        self.has_ended = False
        self._most = most
        self._heard_until = since
        self._pending: list[TicketChange] = []
        self._news = asyncio.Event()

    def wants(self, change: TicketChange) -> bool:
        return is_among(self.tickets, change)

    def tell(self, change: TicketChange) -> None:
        """Keep the change to be sent; with too many that wait, let them go."""
        if self.has_ended or change.id <= self._heard_until or not self.wants(change):
            return
        self._pending.append(change)
        self._news.set()
        if len(self._pending) > self._most:
            self.let_go()

    def skip_to(self, token: str) -> None:
        """Leave out what they have heard elsewhere, up to the token."""
        self._heard_until = token
        self._pending = [change for change in self._pending if change.id > token]

    def let_go(self) -> None:
        """End the stream: they come back and catch up from the last change that reached them."""
        self.has_ended = True
        self._pending.clear()
        self._news.set()

    async def hear(self, timeout: timedelta) -> bytes:
        """What there is to send, as soon as there is something; nothing if that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds()):
                await self._news.wait()
        self._news.clear()
        heard, self._pending = self._pending, []
        return joined(heard)
