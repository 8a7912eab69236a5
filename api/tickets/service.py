"""Tickets: listed, edited and withdrawn by their sellers, as long as no order holds them."""

from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from beanie import PydanticObjectId, UpdateResponse
from pymongo.errors import DuplicateKeyError

from api.http.etags import Precondition
from api.http.models import path_id
from api.http.pagination import NEWEST_FIRST, PageQuery, ResultPage, SortOrder, find_page
from ticketing.clock import utc_now
from ticketing.errors import (
    IdempotencyKeyReused,
    NotTicketOwner,
    StaleTicket,
    TicketingError,
    TicketNotFound,
    TicketReserved,
    TicketSold,
)
from ticketing.models import ListedTicket, ListingRequest, Ticket
from ticketing.models.ticket import RESERVED, SOLD
from ticketing.statuses import TicketStatus
from ticketing.title_words import words_of

STATUS_CONDITIONS: dict[TicketStatus, dict[str, Any]] = {
    TicketStatus.AVAILABLE: {"order_id": None},
    TicketStatus.RESERVED: RESERVED,
    TicketStatus.SOLD: SOLD,
}


class TicketSort(StrEnum):
    """A minus sign means descending order."""

    NEWEST = "-createdAt"
    OLDEST = "createdAt"
    CHEAPEST = "price"
    DEAREST = "-price"


SORT_ORDERS = {
    TicketSort.NEWEST: NEWEST_FIRST,
    TicketSort.OLDEST: SortOrder("created_at"),
    TicketSort.CHEAPEST: SortOrder("price"),
    TicketSort.DEAREST: SortOrder("price", descending=True),
}


@dataclass(frozen=True)
class TicketFilter:
    """Which tickets to list; None matches any."""

    words: str | None = None
    """Words that must all occur in the title."""
    status: TicketStatus | None = TicketStatus.AVAILABLE
    seller_id: PydanticObjectId | None = None
    min_price: int | None = None
    max_price: int | None = None

    def conditions(self) -> dict[str, Any]:
        """The filter as a MongoDB query."""
        conditions: dict[str, Any] = {}
        if self.status is not None:
            conditions |= STATUS_CONDITIONS[self.status]
        if self.seller_id is not None:
            conditions["user_id"] = self.seller_id
        if self.min_price is not None or self.max_price is not None:
            bounds = {"$gte": self.min_price, "$lte": self.max_price}
            conditions["price"] = {name: at for name, at in bounds.items() if at is not None}
        if self.words is not None:
            conditions |= _words_condition(words_of(self.words))
        return conditions


INDEXED_WORDS = 2
"""Words of a search that use the index: with many, MongoDB's query planner takes long."""


def _words_condition(words: list[str]) -> dict[str, Any]:
    """The condition that every word is in the title; without words, nothing matches.

    The longest words are looked up in the index, because they are likely to be the rarest. The
    other words are compared afterwards.
    """
    by_length = sorted(words, key=len, reverse=True)
    longest, others = by_length[:INDEXED_WORDS], by_length[INDEXED_WORDS:]
    others_match = {"$expr": {"$setIsSubset": [others, "$words"]}} if others else {}
    return {"words": {"$all": longest}, **others_match}


@dataclass(frozen=True)
class TicketService:
    currency: str = field(kw_only=True)

    async def create(
        self,
        seller_id: PydanticObjectId,
        title: str,
        price: int,
        key: PydanticObjectId | None = None,
    ) -> Ticket:
        """List a ticket for sale; a repeated key returns its ticket as it was first listed.

        The ticket's own id is not derived from the key. Otherwise, a ticket listed again after a
        withdrawal would have the withdrawn ticket's id, but perhaps another price.

        Raises:
            IdempotencyKeyReused: the key was used for a ticket with another title or price.
        """
        now = utc_now()
        request = ListingRequest(key=key, title=title, price=price) if key else None
        ticket = Ticket(
            title=title,
            price=price,
            currency=self.currency,
            user_id=seller_id,
            created_at=now,
            updated_at=now,
            listing_request=request,
        )
        if request is None:
            return await ticket.insert()
        while True:
            with suppress(DuplicateKeyError):
                return await ticket.insert()
            if listed := await find_listed(request):
                return listed

    async def find(
        self, filter: TicketFilter, sort: TicketSort, page: PageQuery
    ) -> ResultPage[ListedTicket]:
        """One page of the matching tickets."""
        return await find_page(
            Ticket,
            ListedTicket.model_validate,
            filter.conditions(),
            SORT_ORDERS[sort],
            page,
            exclude=["words", "listing_request"],
        )

    async def get(self, ticket_id: str) -> Ticket:
        """One ticket.

        Raises:
            TicketNotFound: there is no ticket with this id.
        """
        ticket = await Ticket.get(path_id(ticket_id, TicketNotFound))
        if ticket is None:
            raise TicketNotFound
        return ticket

    async def edit(
        self,
        ticket_id: str,
        user_id: PydanticObjectId,
        precondition: Precondition,
        *,
        title: str,
        price: int,
    ) -> Ticket:
        """Edit a ticket, unless an order holds it.

        Raises:
            TicketNotFound, NotTicketOwner, TicketReserved, TicketSold, StaleTicket
        """
        while True:
            edited = await Ticket.find_one(_editable(ticket_id, user_id, precondition)).update(
                {
                    "$set": {
                        "title": title,
                        "words": words_of(title),
                        "price": price,
                        "updated_at": utc_now(),
                    },
                    "$inc": {"version": 1},
                },
                response_type=UpdateResponse.NEW_DOCUMENT,
            )
            if isinstance(edited, Ticket):
                return edited
            await self._raise_refusal(ticket_id, user_id, precondition)

    async def withdraw(
        self, ticket_id: str, user_id: PydanticObjectId, precondition: Precondition
    ) -> None:
        """Withdraw the ticket from sale, unless an order holds it.

        Raises:
            TicketNotFound, NotTicketOwner, TicketReserved, TicketSold, StaleTicket
        """
        while True:
            condition = _editable(ticket_id, user_id, precondition)
            result = await Ticket.get_pymongo_collection().delete_one(condition)
            if result.deleted_count:
                return
            await self._raise_refusal(ticket_id, user_id, precondition)

    async def _raise_refusal(
        self, ticket_id: str, user_id: PydanticObjectId, precondition: Precondition
    ) -> None:
        """Raise the reason why the write matched nothing; return if it should be tried again."""
        ticket = await self.get(ticket_id)
        if refusal := _refusal(ticket, user_id, precondition):
            raise refusal


async def find_listed(request: ListingRequest) -> Ticket | None:
    """The ticket that an earlier request with this key listed; None if it was withdrawn."""
    # Found by a write that changes nothing: a read might not yet return the conflicting document,
    # and the answer must only contain what a majority has stored.
    same = {"listing_request.key": request.key}
    ticket = await Ticket.find_one(same).update(
        {"$set": same}, response_type=UpdateResponse.NEW_DOCUMENT
    )
    if not isinstance(ticket, Ticket):
        return None
    if ticket.listing_request != request:
        raise IdempotencyKeyReused
    as_listed = {
        "title": request.title,
        "price": request.price,
        "order_id": None,
        "sold_at": None,
        "version": 1,
        "updated_at": ticket.created_at,
    }
    return ticket.model_copy(update=as_listed)


def _editable(
    ticket_id: str, user_id: PydanticObjectId, precondition: Precondition
) -> dict[str, Any]:
    return {
        "_id": path_id(ticket_id, TicketNotFound),
        "user_id": user_id,
        "order_id": None,
        **precondition.conditions(),
    }


def _refusal(
    ticket: Ticket, user_id: PydanticObjectId, precondition: Precondition
) -> TicketingError | None:
    if ticket.user_id != user_id:
        return NotTicketOwner()
    if ticket.status is TicketStatus.SOLD:
        return TicketSold()
    if ticket.status is TicketStatus.RESERVED:
        return TicketReserved()
    if not precondition.matches(ticket.version):
        return StaleTicket()
    return None
