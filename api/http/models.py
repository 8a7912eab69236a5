"""What every request and response model shares: camelCase, frozen, no unknown fields."""

from typing import Annotated, Any

from beanie import PydanticObjectId
from bson import ObjectId
from bson.errors import InvalidId
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from ticketing.errors import NotFound


class ApiModel(BaseModel):
    """What the API answers: camelCase in JSON, snake_case in Python."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        extra="forbid",
        frozen=True,
    )


class RequestModel(ApiModel):
    """What the API is sent: camelCase only, and no field that it does not know."""

    model_config = ConfigDict(populate_by_name=False, from_attributes=False)


class QueryModel(RequestModel):
    """Query parameters; an empty one (`?q=&sort=`), as a form sends it, counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:  # noqa: ANN401 - whatever was sent
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value != ""}


def _refuse_all_but_ids(value: object) -> object:
    # ObjectId(None) would make a new id.
    if not isinstance(value, str | ObjectId) or not ObjectId.is_valid(value):
        raise ValueError("must be an id of 24 hexadecimal digits")
    return value


Id = Annotated[
    PydanticObjectId,
    BeforeValidator(_refuse_all_but_ids),
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
    """The id that a path names.

    Taken as text by the routes and parsed here, so that a path that names nothing is told
    after the body's own faults.

    Raises:
        NotFound: of the given class, where the text cannot be an id.
    """
    try:
        return PydanticObjectId(text)
    except InvalidId:
        raise missing from None
