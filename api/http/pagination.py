"""Keyset pagination: pages that neither skip nor repeat while others insert.

A cursor names the last item of a page by its sort key and id, so the next page starts behind it
however many items have come and gone. It also carries a fingerprint of what was asked for: with
another filter or another order it means nothing, and is refused.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Protocol, TypeVar

from beanie import Document, PydanticObjectId, SortDirection
from bson import json_util
from pydantic import Field, TypeAdapter, ValidationError

from api.http.models import ApiModel, Id, QueryModel
from ticketing.errors import FieldError, InvalidInput
from ticketing.mongodb import BSONDocument

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100

LONGEST_SEARCH_MS = 3_000
"""Whoever asks for a page that takes the database longer is told that it does not respond."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_KEY = 253_402_300_799_999
"""The last millisecond of the year 9999, and far above any price."""

T = TypeVar("T")


class Listed(Protocol):
    """One of a list, whatever it is read into."""

    @property
    def id(self) -> PydanticObjectId | None: ...


L = TypeVar("L", bound=Listed)


class Page(ApiModel, Generic[T]):
    """Some of a list, in its order."""

    items: list[T]
    next_cursor: str | None = Field(
        description="Send it as `cursor` to get the next page; null on the last one."
    )


class PageQuery(QueryModel):
    """Which page of a list."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=LARGEST_LIMIT)
    cursor: str | None = Field(
        default=None, max_length=500, description="`nextCursor` of the page before."
    )


@dataclass(frozen=True)
class Order:
    """By a field that never is null (an integer or an instant), then by id, both one way."""

    field: str
    descending: bool = False

    @property
    def sort(self) -> list[tuple[str, SortDirection]]:
        direction = SortDirection.DESCENDING if self.descending else SortDirection.ASCENDING
        return [(self.field, direction), ("_id", direction)]

    def behind(self, key: int | datetime, item_id: PydanticObjectId) -> dict[str, Any]:
        """What comes after an item. The range comes first, because an index can follow it."""
        further = "$lt" if self.descending else "$gt"
        return {
            self.field: {f"{further}e": key},
            "$or": [{self.field: {further: key}}, {"_id": {further: item_id}}],
        }


NEWEST_FIRST = Order("created_at", descending=True)


@dataclass(frozen=True)
class FoundPage(Generic[L]):
    """Documents and the cursor behind them, before they are made into an answer."""

    documents: list[L]
    next_cursor: str | None


async def find_page(
    documents: type[Document],
    read: Callable[[BSONDocument], L],
    where: Mapping[str, Any],
    order: Order,
    page: PageQuery,
    *,
    left_out: Sequence[str] = (),
) -> FoundPage[L]:
    """One page of the documents that match, each read as the list needs it.

    Raises:
        InvalidInput: the cursor is not one of this list.
    """
    fingerprint = _fingerprint(documents, where, order)
    conditions = [dict(where)]
    if page.cursor is not None:
        conditions.append(order.behind(*_decode(documents, order, page.cursor, fingerprint)))
    found = [
        read(stored)
        async for stored in documents.get_pymongo_collection().find(
            documents.find({"$and": conditions}).get_filter_query(),
            dict.fromkeys(left_out, 0) or None,
            sort=order.sort,
            limit=page.limit + 1,
            max_time_ms=LONGEST_SEARCH_MS,
        )
    ]
    shown = found[: page.limit]
    last = shown[-1] if len(found) > page.limit else None
    return FoundPage(shown, None if last is None else _encode(last, order, fingerprint))


_CURSOR = TypeAdapter(tuple[Annotated[int, Field(strict=True, ge=0, le=LARGEST_KEY)], Id, str])


def _encode(last: Listed, order: Order, fingerprint: str) -> str:
    key: int | datetime = getattr(last, order.field)
    assert last.id is not None  # stored  # noqa: S101
    number = (key - EPOCH) // timedelta(milliseconds=1) if isinstance(key, datetime) else key
    parts = _CURSOR.dump_json((number, last.id, fingerprint))
    return base64.urlsafe_b64encode(parts).decode().rstrip("=")


def _decode(
    documents: type[Document], order: Order, cursor: str, fingerprint: str
) -> tuple[int | datetime, PydanticObjectId]:
    try:
        parts = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        number, item_id, asked = _CURSOR.validate_json(parts)
    except (binascii.Error, ValidationError, ValueError):
        raise _refusal("is not a cursor of this list") from None
    if asked != fingerprint:
        raise _refusal("belongs to a list with another filter or order")
    if documents.model_fields[order.field].annotation is datetime:
        return EPOCH + timedelta(milliseconds=number), item_id
    return number, item_id


def _fingerprint(documents: type[Document], where: Mapping[str, Any], order: Order) -> str:
    asked = json_util.dumps([documents.__name__, where, order.sort], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:12]


def _refusal(message: str) -> InvalidInput:
    return InvalidInput([FieldError("cursor", message)])
