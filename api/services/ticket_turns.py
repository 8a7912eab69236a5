"""Who wants the same ticket at the same instant is let ahead one at a time, in this process.

The reservation decides who gets a ticket, whatever happens here. But a rush of buyers who all saw
it free would start a workflow each, and all but one of them for nothing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from beanie import PydanticObjectId
from temporalio.service import RPCError

from ticketing.errors import TemporalUnavailable


@dataclass
class Turn:
    """What became of the buyer who was ahead."""

    seller_id: PydanticObjectId
    """The ticket's."""
    holder: PydanticObjectId | None = None
    """The buyer, where the ticket is now reserved for them."""
    outage: Exception | None = None
    """Why nobody could be asked; whoever waited would be told the same."""


class TicketTurns:
    """By ticket, the buyer who is ahead."""

    def __init__(self) -> None:
        self._ahead: dict[PydanticObjectId | None, asyncio.Future[Turn]] = {}

    def ahead(self, ticket_id: PydanticObjectId | None) -> asyncio.Future[Turn] | None:
        """The turn of somebody who is ahead, to be waited for; None if nobody is."""
        turn = self._ahead.get(ticket_id)
        return None if turn is None else asyncio.shield(turn)

    @contextmanager
    def go_ahead(
        self, ticket_id: PydanticObjectId | None, seller_id: PydanticObjectId
    ) -> Iterator[Turn]:
        """Be ahead while the block runs; nobody must be."""
        turn = Turn(seller_id)
        ended = asyncio.get_running_loop().create_future()
        self._ahead[ticket_id] = ended
        try:
            yield turn
        except (TemporalUnavailable, RPCError) as error:
            turn.outage = error
            raise
        finally:
            del self._ahead[ticket_id]
            ended.set_result(turn)
