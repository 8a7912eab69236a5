"""Who wants the same ticket at the same instant is let ahead one at a time, in this process.

The reservation decides who gets a ticket, whatever happens here. But a rush of buyers who all saw
it free would start a workflow each, and all but one of them for nothing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from beanie import PydanticObjectId
from temporalio.service import RPCError

from ticketing.errors import TemporalUnavailable


@dataclass
class Turn:
    """The turn of the buyer who is ahead, and what became of it."""

    seller_id: PydanticObjectId
    """The ticket's."""
    holder: PydanticObjectId | None = None
    """The buyer, where the ticket is now reserved for them."""
    outage: Exception | None = None
    """Why nobody could be asked; whoever waited would be told the same."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class TicketTurns:
    """By ticket, the buyer who is ahead."""

    def __init__(self) -> None:
        self._ahead: dict[PydanticObjectId | None, Turn] = {}

    def ahead(self, ticket_id: PydanticObjectId | None) -> Turn | None:
        """The turn of somebody who is ahead; None if nobody is."""
        return self._ahead.get(ticket_id)

    @contextmanager
    def go_ahead(
        self, ticket_id: PydanticObjectId | None, seller_id: PydanticObjectId
    ) -> Iterator[Turn]:
        """Be ahead while the block runs; nobody must be."""
        turn = self._ahead[ticket_id] = Turn(seller_id)
        try:
            yield turn
        except (TemporalUnavailable, RPCError, RuntimeError) as error:
            # A RuntimeError is what the client says that has never reached Temporal.
            turn.outage = error
            raise
        finally:
            del self._ahead[ticket_id]
            turn.over.set()
