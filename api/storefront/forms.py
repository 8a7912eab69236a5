"""Queries and forms of the storefront, and the messages for invalid fields."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from api.http.models import QueryModel

MAX_FIELDS = 20
MAX_PATH_LENGTH = 2_000
"""For redirects: proxies refuse an answer whose `Location` is much longer."""

Form = Mapping[str, str]
"""The fields of a posted form; of a repeated field the last value."""

M = TypeVar("M", bound=BaseModel)


class StorefrontQuery(QueryModel):
    """A page's query. Unknown parameters, as newsletters and social networks add, are ignored."""

    model_config = ConfigDict(extra="ignore")


class InvalidForm(Exception):
    """A form with invalid fields; `errors` has a message for each of them."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(", ".join(errors))
        self.errors = dict(errors)


async def read_form(request: Request) -> Form:
    """The text fields of the request's form."""
    fields = await request.form(max_files=0, max_fields=MAX_FIELDS)
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def validate_form(model: type[M], values: Mapping[str, object]) -> M:
    """Validate a form with the model of the JSON route.

    Raises:
        InvalidForm: with messages for people.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # The first error of a field explains the others.
        found = [(str(fault["loc"][0]), _message(fault)) for fault in error.errors()]
        raise InvalidForm(dict(reversed(found))) from None


def to_sentence(error: ValueError) -> str:
    """A validator's message as a sentence."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def local_path(text: str, otherwise: str = "/") -> str:
    """The text if it is a local path, otherwise the default: no open redirects."""
    is_plain = text.startswith("/") and text.isprintable() and "\\" not in text
    if not is_plain or text.startswith("//") or len(text) > MAX_PATH_LENGTH:
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
