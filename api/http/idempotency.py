"""Repeated requests: the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header).

No answers are stored. The id of what a request creates is derived from its key, so a second
request, in any process, finds in Temporal and MongoDB what the first one created. A ticket may be
withdrawn and must not come back under the same id, so its derived id is a separate field.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import count

from beanie import PydanticObjectId

from ticketing.errors import FieldError, InvalidInput

IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"

_QUOTED = r'"(?:[!#-\[\]-~]|\\["\\]){1,255}"'
"""A string of a structured field (RFC 9651), but without spaces."""
_BARE = r"[!#-~][!-~]{0,254}"
KEY_PATTERN = f"^(?:{_QUOTED}|{_BARE})$"

ID_BYTES = 12
"""Of SHA-256's 32 bytes: the length of an ObjectId.

With 2^96 ids, a billion requests with keys have a chance of one in 10^11 that any two collide, and
somebody looking for a key that leads to another user's id would have to try 2^96 keys.
"""


def parse_key(sent: str) -> str:
    """The key in the header: quoted, as the draft requires, or bare.

    Raises:
        InvalidInput: it is neither. Two headers, joined by a comma and a space as in HTTP, are
            not a key either.
    """
    if re.fullmatch(KEY_PATTERN, sent) is None:
        message = "must be 1 to 255 visible ASCII characters, best a UUID in double quotes"
        raise InvalidInput([FieldError(IDEMPOTENCY_KEY_HEADER, message)])
    return re.sub(r"\\(.)", r"\1", sent[1:-1]) if sent.startswith('"') else sent


def derived_id(
    route: str, user_id: PydanticObjectId, key: str, attempt: int = 0
) -> PydanticObjectId:
    """The id for what the user's request to this route creates.

    It is always the same for the same key, and differs between users and between routes. The key
    itself is not stored.
    """
    # The key comes last and contains no line break, so different requests give different texts.
    request = f"{route}\n{user_id}\n{attempt}\n{key}"
    return PydanticObjectId(hashlib.sha256(request.encode()).digest()[:ID_BYTES])


def derived_ids(route: str, user_id: PydanticObjectId, key: str) -> Iterator[PydanticObjectId]:
    """The ids to try one after the other, because an attempt may be abandoned without a trace."""
    return (derived_id(route, user_id, key, attempt) for attempt in count())
