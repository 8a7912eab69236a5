"""Keyset pagination: pages that neither skip nor repeat while others insert.

A cursor contains the sort key and the id of a page's last item, so the next page starts after it,
however many items were inserted or deleted meanwhile. It also contains a fingerprint of the query:
with another filter or another sort order the cursor is meaningless and refused.
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
MAX_LIMIT = 100

QUERY_TIMEOUT_MS = 3_000
"""MongoDB aborts a longer query, which is answered as an outage."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SORT_KEY = 253_402_300_799_999
"""The last millisecond of the year 9999, and far above any price."""

T = TypeVar("T")


class HasId(Protocol):
    """An item that a cursor can refer to."""

    @property
    def id(self) -> PydanticObjectId | None: ...


L = TypeVar("L", bound=HasId)


class Page(ApiModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = Field(
        description="Send it as `cursor` to get the next page; null on the last one."
    )


class PageQuery(QueryModel):
    """Which page of a list."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(
        default=None, max_length=500, description="`nextCursor` of the previous page."
    )


@dataclass(frozen=True)
class SortOrder:
    """By a field that is never null (an integer or a datetime), then by id, in one direction."""

    field: str
    descending: bool = False

    @property
    def sort(self) -> list[tuple[str, SortDirection]]:
        direction = SortDirection.DESCENDING if self.descending else SortDirection.ASCENDING
        return [(self.field, direction), ("_id", direction)]

    def after(self, key: int | datetime, item_id: PydanticObjectId) -> dict[str, Any]:
        """The condition for later items; its range comes first, so that an index can serve it."""
        operator = "$lt" if self.descending else "$gt"
        return {
            self.field: {f"{operator}e": key},
            "$or": [{self.field: {operator: key}}, {"_id": {operator: item_id}}],
        }


NEWEST_FIRST = SortOrder("created_at", descending=True)


@dataclass(frozen=True)
class ResultPage(Generic[T]):
    """What a service found: the items of one page and the cursor of the next."""

    items: list[T]
    next_cursor: str | None


async def find_page(
    documents: type[Document],
    read: Callable[[BSONDocument], L],
    where: Mapping[str, Any],
    order: SortOrder,
    page: PageQuery,
    *,
    exclude: Sequence[str] = (),
) -> ResultPage[L]:
    """One page of the matching documents, each parsed by `read`.

    Raises:
        InvalidInput: the cursor is not one of this query.
    """
    fingerprint = _fingerprint(documents, where, order)
    conditions = [dict(where)]
    if page.cursor is not None:
        conditions.append(order.after(*_decode(documents, order, page.cursor, fingerprint)))
    found = [
        read(stored)
        async for stored in documents.get_pymongo_collection().find(
            documents.find({"$and": conditions}).get_filter_query(),
            dict.fromkeys(exclude, 0) or None,
            sort=order.sort,
            limit=page.limit + 1,
            max_time_ms=QUERY_TIMEOUT_MS,
        )
    ]
    shown = found[: page.limit]
    last = shown[-1] if len(found) > page.limit else None
    return ResultPage(shown, None if last is None else _encode(last, order, fingerprint))


_CURSOR = TypeAdapter(tuple[Annotated[int, Field(strict=True, ge=0, le=MAX_SORT_KEY)], Id, str])


def _encode(last: HasId, order: SortOrder, fingerprint: str) -> str:
    key: int | datetime = getattr(last, order.field)
    assert last.id is not None  # stored  # noqa: S101
    number = (key - EPOCH) // timedelta(milliseconds=1) if isinstance(key, datetime) else key
    parts = _CURSOR.dump_json((number, last.id, fingerprint))
    return base64.urlsafe_b64encode(parts).decode().rstrip("=")


def _decode(
    documents: type[Document], order: SortOrder, cursor: str, fingerprint: str
) -> tuple[int | datetime, PydanticObjectId]:
    try:
        parts = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        number, item_id, asked = _CURSOR.validate_json(parts)
    except (binascii.Error, ValidationError, ValueError):
        raise _invalid_cursor("is not a cursor of this list") from None
    if asked != fingerprint:
        raise _invalid_cursor("belongs to a list with another filter or order")
    if documents.model_fields[order.field].annotation is datetime:
        return EPOCH + timedelta(milliseconds=number), item_id
    return number, item_id


def _fingerprint(documents: type[Document], where: Mapping[str, Any], order: SortOrder) -> str:
    asked = json_util.dumps([documents.__name__, where, order.sort], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:12]


def _invalid_cursor(message: str) -> InvalidInput:
    return InvalidInput([FieldError("cursor", message)])
