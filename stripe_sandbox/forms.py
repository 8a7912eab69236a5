"""Stripe's bracketed forms: `metadata[order_id]=1&expand[]=a` becomes nested dicts and lists."""

import re
from typing import TypeAlias, Union
from urllib.parse import parse_qsl

from stripe_sandbox.errors import InvalidParameter

FormValue: TypeAlias = Union[str, "Form", list[str]]
Form: TypeAlias = dict[str, FormValue]

MAX_DEPTH = 6
MAX_FIELDS = 1000

_NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_SEGMENT = re.compile(r"\[([^\[\]]*)\]")


def decode_form(encoded: str) -> Form:
    """The nested parameters of a form body or query string.

    Values stay strings. `a[]=x` makes a list; `a[0]=x` a dict keyed by the index, because only
    the parameter's meaning tells a list from metadata that happens to have numeric keys.

    Raises:
        InvalidParameter: malformed or contradicting names, or too many or too deep ones.
    """
    try:
        pairs = parse_qsl(
            encoded, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise InvalidParameter("Invalid request: the form could not be decoded.") from error
    form: Form = {}
    for name, value in pairs:
        _put(form, name, _segments(name), value)
    return form


def _segments(name: str) -> list[str]:
    match = _NAME.match(name)
    if match is None:
        raise InvalidParameter(f"Invalid parameter name: {name}", param=name)
    segments = [match[1], *_SEGMENT.findall(match[2])]
    if len(segments) > MAX_DEPTH or "" in segments[:-1]:
        raise InvalidParameter(f"Invalid parameter name: {name}", param=name)
    return segments


def _put(form: Form, name: str, segments: list[str], value: str) -> None:
    *parents, last = segments
    if last == "":
        *parents, last = parents
        items = _descend(form, name, parents).setdefault(last, [])
        if not isinstance(items, list):
            raise _contradiction(name)
        items.append(value)
        return
    place = _descend(form, name, parents)
    if isinstance(place.get(last), (dict, list)):
        raise _contradiction(name)
    place[last] = value


def _descend(form: Form, name: str, parents: list[str]) -> Form:
    place = form
    for segment in parents:
        inner = place.setdefault(segment, {})
        if not isinstance(inner, dict):
            raise _contradiction(name)
        place = inner
    return place


def _contradiction(name: str) -> InvalidParameter:
    return InvalidParameter(f"Invalid request: {name} contradicts another parameter.", param=name)
