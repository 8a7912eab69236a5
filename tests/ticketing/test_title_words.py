"""The words that searches compare."""

import pytest

from ticketing.title_words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Radiohead, Berlin, row 4", ["4", "berlin", "radiohead", "row"]),
        ("Björk", ["bjork"]),
        ("BJO\u0308RK", ["bjork"]),
        ("STRASSE straße", ["strasse"]),
        ("AC/DC", ["ac", "dc"]),
        ("Row row ROW", ["row"]),
        ("Ｆｕｌｌ　ｗｉｄｔｈ ４", ["4", "full", "width"]),
        ("Ленинград 東京", ["ленинград", "東京"]),
        ("!? \u0000", []),
        ("", []),
    ],
)
def test_words_are_told_apart_from_all_else_and_lose_case_and_accents(
    text: str, words: list[str]
) -> None:
    assert words_of(text) == words
