"""RFC 9457 problem details: their shape, and how routes document them."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Scope

from ticketing.errors import TicketingError

MEDIA_TYPE = "application/problem+json"

Responses = dict[int | str, dict[str, Any]]

Render = Callable[[Scope, TicketingError, Mapping[str, str] | None], Response]
"""Makes the answer to a request that is refused, with further headers or none."""


class FieldProblem(BaseModel):
    """What is wrong with one field of the request."""

    field: str = Field(description="Its JSON name, dotted where nested; `body` for all of it.")
    message: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="A URI that names the kind of problem: `code` as a URN.")
    title: str = Field(description="The kind of problem, for people.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="This occurrence, for people.")
    code: str = Field(description="The kind of problem, for programs; it never changes.")
    errors: list[FieldProblem] | None = Field(
        default=None, description="With `validation_error`: what is wrong, field by field."
    )
    decline_code: str | None = Field(
        default=None, alias="declineCode", description="With `card_declined`: the bank's reason."
    )
    price: int | None = Field(
        default=None,
        description="With `price_changed`: what the ticket costs now, in its currency's minor "
        "unit; where the caller holds it already, what was agreed.",
    )
    unavailable: list[str] | None = Field(
        default=None, description="With `not_ready`: the parts that do not respond."
    )


class ProblemResponse(Response):
    """A refusal, rendered."""

    media_type = MEDIA_TYPE

    def __init__(self, error: TicketingError, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            # Escaped to ASCII: a name that is echoed may hold half a surrogate pair.
            content=json.dumps(problem_of(error)),
            status_code=error.status,
            headers={**error.headers(), **(headers or {})},
        )


def render_problem(
    _scope: Scope, error: TicketingError, headers: Mapping[str, str] | None
) -> Response:
    """The refusal as a program reads it."""
    return ProblemResponse(error, headers)


def problem_of(error: TicketingError) -> dict[str, Any]:
    """The members of the problem, in the order in which people read them."""
    return {
        "type": f"urn:problem-type:holdfast:{error.code}",
        "title": error.title,
        "status": int(error.status),
        "detail": error.detail or error.title,
        "code": error.code,
        **error.members(),
    }


def problems(*errors: type[TicketingError]) -> Responses:
    """The `responses=` of a route: its refusals, grouped by status, an example each."""
    by_status: defaultdict[int, list[type[TicketingError]]] = defaultdict(list)
    for error in errors:
        by_status[int(error.status)].append(error)
    return {status: _document(kinds) for status, kinds in sorted(by_status.items())}


def _document(kinds: list[type[TicketingError]]) -> dict[str, Any]:
    examples = {
        kind.code: {"summary": kind.title, "value": problem_of(kind.example())} for kind in kinds
    }
    return {
        "description": " ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "content": {
            MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
        },
    }
