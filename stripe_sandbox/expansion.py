"""Expanded answers: `expand[]=latest_charge` puts the object in its id's place.

Stripe: "Expanding Responses".
"""

from stripe_sandbox.calls import Call
from stripe_sandbox.errors import InvalidParameter, Json
from stripe_sandbox.parameters import Parameters

_KINDS = {"pi": "payment_intent", "ch": "charge", "pm": "payment_method", "re": "refund"}
MAX_DEPTH = 4


def expand(call: Call, body: Json) -> Json:
    """The answer with everything expanded that the call's `expand` names.

    Raises:
        InvalidParameter: a path that is too deep or that names nothing expandable.
    """
    paths = Parameters(call.form, call.form.keys()).strings("expand") or []
    for path in paths:
        segments = path.split(".")
        if len(segments) > MAX_DEPTH:
            raise InvalidParameter(
                f"You cannot expand more than {MAX_DEPTH} levels of a property ({path}).",
                param="expand",
            )
        _expand(call, body, segments, path)
    return body


def _expand(call: Call, place: Json, segments: list[str], path: str) -> None:
    name, *rest = segments
    if not isinstance(place.get(name, 0), str | dict | list | None):
        raise InvalidParameter(f"This property cannot be expanded ({path}).", param="expand")
    value = place[name]
    if isinstance(value, str):
        kind = _KINDS.get(value.partition("_")[0])
        found = call.ledger.find(kind, value) if kind else None
        if found is None:
            raise InvalidParameter(f"This property cannot be expanded ({path}).", param="expand")
        value = place[name] = found.body
    if not rest:
        return
    for inner in value if isinstance(value, list) else [value]:
        if isinstance(inner, dict):
            _expand(call, inner, rest, path)
