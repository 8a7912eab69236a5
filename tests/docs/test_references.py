"""Documents name files, modules and sections that exist."""

import re
from pathlib import Path

import pytest

from devstack.process import REPOSITORY

PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
TOP = sorted(
    entry.name for entry in REPOSITORY.iterdir() if entry.is_dir() and entry.name[0] != "."
)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_section_that_is_linked_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text())

    broken = [
        f"{file}#{anchor}"
        for file, anchor in links
        if anchor not in _anchors((page.parent / file) if file else page)
    ]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_is_there(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(TOP)})/[\w./*-]+)`", page.read_text())

    assert [name for name in named if not list(REPOSITORY.glob(name.rstrip("/")))] == []


def test_paths_are_found_in_the_pages() -> None:
    assert {"api", "docs", "tests", "workflows"} <= set(TOP)
