"""Entity tags: a document's version, so that a stale edit can be refused.

They serve `If-Match` only. A reservation changes a ticket's status but not its version, so the tag
does not tell whether a cached copy is fresh: `If-None-Match` is ignored, and answers are marked
`no-store`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header

from ticketing.errors import FieldError, InvalidInput

ETAG_PATTERN = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
IF_MATCH_PATTERN = re.compile(rf"\s*(?:\*|{ETAG_PATTERN}(?:\s*,\s*{ETAG_PATTERN})*)\s*")


@dataclass(frozen=True)
class Precondition:
    """The versions of the document that may be edited; None allows any."""

    versions: tuple[int, ...] | None = None

    def matches(self, version: int) -> bool:
        return self.versions is None or version in self.versions

    def conditions(self) -> dict[str, Any]:
        """The precondition as part of a conditional write's filter."""
        return {} if self.versions is None else {"version": {"$in": list(self.versions)}}


def etag(version: int) -> str:
    return f'"{version}"'


async def precondition(
    if_match: Annotated[
        str | None,
        Header(
            description="The `ETag` of the version to change. With a stale one nothing is changed.",
            examples=['"1"'],
        ),
    ] = None,
) -> Precondition:
    if if_match is None or if_match.strip() == "*":
        return Precondition()
    if not IF_MATCH_PATTERN.fullmatch(if_match):
        raise InvalidInput([FieldError("If-Match", 'must be * or entity tags such as "1"')])
    # A weak tag never matches (RFC 9110, section 13.1.1), nor does a tag that is not a version.
    strong = re.findall(r'(?<!W/)"([1-9]\d{0,14})"', if_match)
    return Precondition(tuple(int(version) for version in strong))


IfMatch = Annotated[Precondition, Depends(precondition)]
