"""How much was tried is told at the end."""

from collections import Counter

import pytest

ANSWERS = pytest.StashKey[Counter[int]]()
"""How often each status was answered."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ANSWERS] = Counter()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    answers = config.stash[ANSWERS]
    if answers:
        by_status = ", ".join(f"{count:,} × {status}" for status, count in sorted(answers.items()))
        terminalreporter.write_line(f"{answers.total():,} requests were tried: {by_status}")
