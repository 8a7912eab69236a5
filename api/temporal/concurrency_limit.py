"""A limit of concurrent operations that adapts to how soon they are answered.

Additive increase, multiplicative decrease: TCP's congestion avoidance (RFC 5681), with a late
answer in place of a lost packet, as in Netflix's `AIMDLimit`
(https://github.com/Netflix/concurrency-limits).
"""

INITIAL_LIMIT = 64
"""A rush for 50 tickets is let through, as long as it is answered well."""
MIN_LIMIT = 4
"""Enough to notice that operations are answered again."""
MAX_LIMIT = 256

TARGET_SECONDS = 1.0
"""An answer is late after this."""

MIN_FACTOR = 0.5
"""What is left of the limit after a missing or a very late answer."""

IDLE_SECONDS = 5.0
"""After such a pause, what was learnt under load is out of date."""


class ConcurrencyLimit:
    """How many operations may be under way at once."""

    def __init__(self, initial: int = INITIAL_LIMIT) -> None:
        self._initial = initial
        self._limit = float(initial)
        self._decreased_at = float("-inf")

    @property
    def slots(self) -> int:
        return int(self._limit)

    def record_answer(self, *, began: float, now: float, in_use: int) -> None:
        """An operation was answered, while so many were under way.

        The limit grows by one per round of answers, and only while it is used. It shrinks in
        proportion to how late the answer is.
        """
        if began < self._decreased_at:
            return  # it was under way before the last decrease, and says nothing of its effect
        latency = now - began
        if latency > TARGET_SECONDS:
            self._decrease(max(TARGET_SECONDS / latency, MIN_FACTOR), now)
        elif in_use * 2 >= self._limit:
            self._limit = min(self._limit + 1 / self._limit, MAX_LIMIT)

    def record_failure(self, *, began: float, now: float) -> None:
        """An operation was not answered."""
        if began >= self._decreased_at:
            self._decrease(MIN_FACTOR, now)

    def forget_load(self) -> None:
        """Begin again after a pause, unless the limit is higher by now."""
        self._limit = max(self._limit, float(self._initial))

    def _decrease(self, factor: float, now: float) -> None:
        self._limit = max(self._limit * factor, MIN_LIMIT)
        self._decreased_at = now
