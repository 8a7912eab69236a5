"""Lists: newest first, by cursor. Stripe: "Pagination"."""

import itertools
import re
from collections.abc import Iterator

from stripe_sandbox.calls import Call
from stripe_sandbox.errors import InvalidParameter, Json
from stripe_sandbox.ledger import StoredObject
from stripe_sandbox.parameters import Parameters

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
_PAGING = ("limit", "starting_after", "ending_before", "created", "expand")
_BOUNDS = ("gt", "gte", "lt", "lte")
_CLAUSE = re.compile(
    r"""\s*(?P<field>status|currency|amount|metadata\[(['"])(?P<key>[^'"]+)\2\])"""
    r"""\s*:\s*(?:(['"])(?P<quoted>[^'"]*)\4|(?P<plain>\w+))\s*"""
)


def list_page(call: Call, kind: str, url: str, *, filters: tuple[str, ...] = ()) -> Json:
    """One page of the objects of a kind.

    `filters` are names of fields that a parameter of the same name must equal.

    Raises:
        InvalidParameter: a limit outside 1 to 100, or both cursors.
        ResourceMissing: a cursor that names nothing.
    """
    params = Parameters(call.form, (*_PAGING, *filters))
    limit = _limit(params)
    created = _created_bounds(params)
    wanted = {name: params.text(name) for name in filters if params.text(name) is not None}
    after, before = _cursor(call, params, kind, "starting_after"), None
    if after is None:
        before = _cursor(call, params, kind, "ending_before")
    elif "ending_before" in params:
        raise InvalidParameter("You cannot use both starting_after and ending_before.")
    candidates = call.ledger.objects(
        kind,
        payment_intent=wanted.get("payment_intent"),
        charge=wanted.get("charge"),
        after=after,
        before=before,
    )
    found = (
        stored
        for stored in candidates
        if _within(stored.body["created"], created)
        and all(stored.body.get(name) == value for name, value in wanted.items())
    )
    page, has_more = _take(found, limit)
    if before is not None:
        page.reverse()
    return {
        "object": "list",
        "data": [stored.body for stored in page],
        "has_more": has_more,
        "url": url,
    }


def search(call: Call, kind: str, url: str) -> Json:
    """The objects that match a query such as `metadata['order_id']:'x' AND status:'succeeded'`.

    Unlike Stripe's index, which lags behind, it sees every object at once; and it has
    exact matches joined by AND only.

    Raises:
        InvalidParameter: a query that is missing or not supported.
    """
    params = Parameters(call.form, ("query", "limit", "page", "expand"))
    limit = _limit(params)
    clauses = [_clause(part) for part in re.split(r"\s+AND\s+", params.required("query"))]
    found = (
        stored
        for stored in call.ledger.objects(kind)
        if all(_field(stored.body, name) == value for name, value in clauses)
    )
    page, has_more = _take(found, limit)
    return {
        "object": "search_result",
        "data": [stored.body for stored in page],
        "has_more": has_more,
        "next_page": None,
        "url": url,
    }


def _limit(params: Parameters) -> int:
    limit = params.integer("limit")
    if limit is None:
        return DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        edge = "greater than or equal to 1" if limit < 1 else f"less than or equal to {MAX_LIMIT}"
        raise InvalidParameter(
            f"This value must be {edge}.", code="parameter_invalid_integer", param="limit"
        )
    return limit


def _take(found: Iterator[StoredObject], limit: int) -> tuple[list[StoredObject], bool]:
    page = list(itertools.islice(found, limit + 1))
    return page[:limit], len(page) > limit


def _cursor(call: Call, params: Parameters, kind: str, name: str) -> int | None:
    id = params.text(name)
    return None if id is None else call.get(kind, id, param=name).position


def _created_bounds(params: Parameters) -> dict[str, int]:
    if params.is_text("created"):
        exact = params.integer("created")
        return {} if exact is None else {"gte": exact, "lte": exact}
    bounds = params.nested("created", _BOUNDS)
    read = {name: bounds.integer(name) for name in _BOUNDS} if bounds else {}
    return {name: value for name, value in read.items() if value is not None}


def _within(created: int, bounds: dict[str, int]) -> bool:
    return (
        created > bounds.get("gt", -1)
        and created >= bounds.get("gte", 0)
        and created < bounds.get("lt", created + 1)
        and created <= bounds.get("lte", created)
    )


def _clause(part: str) -> tuple[str, str]:
    match = _CLAUSE.fullmatch(part)
    if match is None:
        raise InvalidParameter(f"The sandbox does not understand this query: {part}", param="query")
    name = f"metadata:{match['key']}" if match["key"] else match["field"]
    return name, match["quoted"] if match["plain"] is None else match["plain"]


def _field(body: Json, name: str) -> str:
    if name.startswith("metadata:"):
        return str(body["metadata"].get(name.removeprefix("metadata:")))
    return str(body[name])
