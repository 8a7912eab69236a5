"""Repeated requests: the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header).

There is no store of answers. The id of what a request makes follows from its key, so a second
request, in whatever process, meets at Temporal and in MongoDB what the first one has made. Of a
ticket, which may be withdrawn and must not come back under its id, it is a field beside the id.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import count

from beanie import PydanticObjectId

from ticketing.errors import FieldError, InvalidInput

HEADER = "Idempotency-Key"

_QUOTED = r'"(?:[!#-\[\]-~]|\\["\\]){1,255}"'
"""A string as structured fields write it (RFC 9651), but without spaces."""
_BARE = r"[!#-~][!-~]{0,254}"
KEY_PATTERN = f"^(?:{_QUOTED}|{_BARE})$"

ID_BYTES = 12
"""Of 32 that SHA-256 gives: as long as every other id here.

At 2^96 ids a billion keyed requests have a chance of one in 10^11 that any two of them meet,
and whoever looked for another user's id would have to try 2^96 keys.
"""


def parse_key(sent: str) -> str:
    """The key that the header carries, quoted as the draft wants it or bare.

    Raises:
        InvalidInput: it is neither. Two headers are joined by a comma and a space, as HTTP
            does, and are no key either.
    """
    if re.fullmatch(KEY_PATTERN, sent) is None:
        message = "must be 1 to 255 visible ASCII characters, best a UUID in double quotes"
        raise InvalidInput([FieldError(HEADER, message)])
    return re.sub(r"\\(.)", r"\1", sent[1:-1]) if sent.startswith('"') else sent


def derived_id(
    route: str, user_id: PydanticObjectId, key: str, attempt: int = 0
) -> PydanticObjectId:
    """The id of what the user's request to the route makes, or the field that stands for it.

    For one key it is always the same. No two users meet, nor two routes, and the key itself is
    stored nowhere.
    """
    # The key comes last and holds no line break, so no two requests are written alike.
    request = f"{route}\n{user_id}\n{attempt}\n{key}"
    return PydanticObjectId(hashlib.sha256(request.encode()).digest()[:ID_BYTES])


def derived_ids(route: str, user_id: PydanticObjectId, key: str) -> Iterator[PydanticObjectId]:
    """The ids to try one after the other, where an attempt may come to nothing at all."""
    return (derived_id(route, user_id, key, attempt) for attempt in count())
