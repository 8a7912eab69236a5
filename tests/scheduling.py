"""Which process of a run takes which tests, and what it begins with."""

import pytest
from xdist.scheduler import LoadFileScheduling

WITH_PROCESSES = (
    "tests/browser/",
    "tests/devstack/",
    "tests/drain/",
    "tests/e2e/",
    "tests/faults/",
    "tests/observability/",
    "tests/operations/",
    "tests/stateful/",
    "tests/tls/",
    "tests/versions/",
)
"""Tests that start processes of their own: few, and slow."""


class SlowFilesFirst(LoadFileScheduling):  # type: ignore[misc] # xdist carries no types
    """Whoever is free takes the next file; all tests with a browser share one market."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/browser" if file.startswith("tests/browser/") else file


def put_slow_files_first(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that the processes of a run end together."""
    items.sort(key=lambda item: not item.nodeid.startswith(WITH_PROCESSES))
