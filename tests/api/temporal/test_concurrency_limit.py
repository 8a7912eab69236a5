"""The limit grows while answers come in time, and shrinks when they do not."""

from api.temporal.concurrency_limit import (
    INITIAL_LIMIT,
    MAX_LIMIT,
    MIN_LIMIT,
    TARGET_SECONDS,
    ConcurrencyLimit,
)

SOON = TARGET_SECONDS / 10
LATE = TARGET_SECONDS * 1.25
VERY_LATE = TARGET_SECONDS * 10


def answer(limit: ConcurrencyLimit, latency: float, *, began: float = 0, in_use: int = 999) -> None:
    limit.record_answer(began=began, now=began + latency, in_use=in_use)


def test_a_round_of_timely_answers_adds_one() -> None:
    limit = ConcurrencyLimit(10)
    for _ in range(11):
        answer(limit, SOON)
    assert limit.slots == 11
    for _ in range(MAX_LIMIT**2):
        answer(limit, SOON)
    assert limit.slots == MAX_LIMIT


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limit = ConcurrencyLimit(10)
    for _ in range(100):
        answer(limit, SOON, in_use=4)
    assert limit.slots == 10
    for _ in range(11):
        answer(limit, SOON, in_use=6)
    assert limit.slots == 11


def test_a_late_answer_shrinks_it_in_proportion_and_at_most_by_half() -> None:
    limit = ConcurrencyLimit(100)
    answer(limit, LATE)
    assert limit.slots == 80
    answer(limit, VERY_LATE, began=LATE)
    assert limit.slots == 40


def test_a_missing_answer_halves_it_down_to_a_minimum() -> None:
    limit = ConcurrencyLimit(10)
    for second in range(10):
        limit.record_failure(began=second, now=second + 0.5)
    assert limit.slots == MIN_LIMIT


def test_what_was_under_way_before_a_decrease_changes_nothing_more() -> None:
    limit = ConcurrencyLimit(100)
    for began in (0, 0.1, 0.2):
        answer(limit, VERY_LATE, began=began)
        limit.record_failure(began=began, now=began + VERY_LATE)
    for _ in range(1000):
        answer(limit, SOON)
    assert limit.slots == 50
    answer(limit, VERY_LATE, began=VERY_LATE)
    assert limit.slots == 25


def test_after_a_pause_it_begins_again() -> None:
    limit = ConcurrencyLimit()
    answer(limit, VERY_LATE)
    assert limit.slots < INITIAL_LIMIT
    limit.forget_load()
    assert limit.slots == INITIAL_LIMIT
    for _ in range(INITIAL_LIMIT * 2):
        answer(limit, SOON, began=VERY_LATE)
    assert limit.slots > INITIAL_LIMIT
    limit.forget_load()
    assert limit.slots > INITIAL_LIMIT
