"""Base classes of the request and response models: camelCase, frozen, no unknown fields."""

from typing import Annotated, Any

from beanie import PydanticObjectId
from bson import ObjectId
from bson.errors import InvalidId
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from ticketing.errors import NotFound


class ApiModel(BaseModel):
    """A model with camelCase in JSON and snake_case in Python."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        extra="forbid",
        frozen=True,
    )


class RequestModel(ApiModel):
    """A request's model: only camelCase is accepted."""

    model_config = ConfigDict(populate_by_name=False, from_attributes=False)


class QueryModel(RequestModel):
    """Query parameters. An empty one (`?q=&sort=`), as forms send it, counts as omitted."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:  # noqa: ANN401 - unvalidated input
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value != ""}


def _require_object_id(value: object) -> object:
    # ObjectId(None) would generate a new id.
    if not isinstance(value, str | ObjectId) or not ObjectId.is_valid(value):
        raise ValueError("must be an id of 24 hexadecimal digits")
    return value


Id = Annotated[
    PydanticObjectId,
    BeforeValidator(_require_object_id),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9a-f]{24}$",
            "examples": ["6740f3a2c1b5d94e8f1a2b3c"],
        }
    ),
]
"""An id in a body or a query; a malformed one is a validation error."""


def path_id(text: str, missing: type[NotFound]) -> PydanticObjectId:
    """The id in a path.

    Routes take it as text and parse it here, so that an invalid body (422) is reported before an
    unknown path (404).

    Raises:
        NotFound: of the given class, if the text is not an id.
    """
    try:
        return PydanticObjectId(text)
    except InvalidId:
        raise missing from None
