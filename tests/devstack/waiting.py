"""Wait for a condition, with a deadline."""

import time
from collections.abc import Callable


def eventually(is_true: Callable[[], bool], timeout: float = 30.0) -> None:
    """Return as soon as it is true.

    Raises:
        AssertionError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout
    while not is_true():
        assert time.monotonic() < deadline, f"not true after {timeout:.0f} s"
        time.sleep(0.02)
