"""The page on reliability names tests that exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "reliability.md").read_text()


def test_every_test_that_it_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    tests = "\n".join(file.read_text() for file in (REPOSITORY / "tests").rglob("test_*.py"))

    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_every_file_that_it_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/*.]+)`", PAGE))

    assert named
    assert {name for name in named if not list(REPOSITORY.glob(name))} == set()
