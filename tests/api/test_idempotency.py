"""The `Idempotency-Key` header: read from what clients send, and turned into ids."""

from itertools import islice

import pytest
from beanie import PydanticObjectId

from api.http.idempotency import derived_id, derived_ids, parse_key
from ticketing.errors import InvalidInput

USER = PydanticObjectId("6740f3a2c1b5d94e8f1a2b3c")
OTHER_USER = PydanticObjectId("6740f3a2c1b5d94e8f1a2b3d")


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ('"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (r'"a\"b\\c"', r'a"b\c'),
        ("k", "k"),
        ('"' + "k" * 255 + '"', "k" * 255),
        ('"' + r"\"" * 255 + '"', '"' * 255),
        ("~" * 255, "~" * 255),
    ],
)
def test_a_key_is_read_quoted_or_bare(sent: str, key: str) -> None:
    assert parse_key(sent) == key


@pytest.mark.parametrize(
    "sent",
    [
        "",
        '""',
        '"',
        '"open',
        '"two" "strings"',
        '"a", "b"',
        "a, b",
        "a b",
        r'"a\b"',
        '"with";parameter=1',
        "schlüssel",
        "tab\there",
        "line\n",
        "k" * 256,
        '"' + "k" * 256 + '"',
    ],
)
def test_anything_else_is_no_key_and_the_header_is_named(sent: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_key(sent)
    assert [error.field for error in refusal.value.errors] == ["Idempotency-Key"]


def test_an_id_follows_from_its_key_and_never_changes() -> None:
    ids = [str(derived_id("POST /api/orders", USER, "k", attempt)) for attempt in (0, 1)]
    assert ids == ["afa2bfcd880a4f2fef769f71", "aed27e0fad586470e05f5a1f"]
    assert list(islice(derived_ids("POST /api/orders", USER, "k"), 2)) == list(
        map(PydanticObjectId, ids)
    )


def test_no_two_routes_users_attempts_or_keys_meet() -> None:
    ids = {
        derived_id(route, user, key, attempt)
        for route in ("POST /api/orders", "POST /api/payments")
        for user in (USER, OTHER_USER)
        for key in ("k", "1\\nk", "0")
        for attempt in (0, 1, 10)
    }
    assert len(ids) == 2 * 2 * 3 * 3
