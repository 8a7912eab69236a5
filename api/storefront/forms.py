"""What people send with addresses and forms, and what is said beside a field that is wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from api.http.models import QueryModel

MOST_FIELDS = 20
LONGEST_PATH = 2_000
"""Characters of an address to come back to; proxies refuse an answer with a far longer one."""

Form = Mapping[str, str]
"""The fields of a posted form; of a field that comes twice, the last."""

M = TypeVar("M", bound=BaseModel)


class AddressQuery(QueryModel):
    """What the address of a page asks for.

    What it does not know it ignores: a link that is passed on arrives with parameters that
    newsletters and social networks have added.
    """

    model_config = ConfigDict(extra="ignore")


class InvalidForm(Exception):
    """A form cannot be taken as it is; each wrong field has its message."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(", ".join(errors))
        self.errors = dict(errors)


async def read_form(request: Request) -> Form:
    """The text fields of the request's form."""
    fields = await request.form(max_files=0, max_fields=MOST_FIELDS)
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def validated(model: type[M], values: Mapping[str, object]) -> M:
    """The same rules as for the JSON route, told to people.

    Raises:
        InvalidForm: saying what is wrong with which field.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # The first of a field's faults is the one that explains the others.
        found = [(str(fault["loc"][0]), _message(fault)) for fault in error.errors()]
        raise InvalidForm(dict(reversed(found))) from None


def sentence(error: ValueError) -> str:
    """What a rule has to say about a field, as it stands beside it."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def local_path(text: str, otherwise: str = "/") -> str:
    """A path of ours to go to, whatever was asked for: no link leads from here to elsewhere."""
    is_plain = text.startswith("/") and text.isprintable() and "\\" not in text
    if not is_plain or text.startswith("//") or len(text) > LONGEST_PATH:
        return otherwise
    try:
        parts = urlsplit(text)
    except ValueError:
        return otherwise
    return otherwise if parts.scheme or parts.netloc else text


def _message(fault: Mapping[str, Any]) -> str:
    limits: Mapping[str, Any] = fault.get("ctx", {})
    match fault["type"]:
        case "string_too_short" if not fault["input"]:
            return "Fill this in."
        case "string_too_short" if limits["min_length"] == 1:
            return "Fill this in."
        case "string_too_short":
            return f"Use at least {limits['min_length']} characters."
        case "string_too_long":
            return f"Use at most {limits['max_length']} characters."
    text = str(fault["msg"]).removeprefix("Value error, ")
    return f"This {text}." if text.startswith(("is ", "must ")) else f"{text}."
