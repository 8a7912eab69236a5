"""When a server counts as recovered."""

from collections.abc import Iterator

import pytest

from bench.recovery import Recovery
from bench.unpaced_buyers import Outcomes


def _recovery(*completions: Iterator[float]) -> Recovery:
    """Killed after 20 s, back after 22, and watched until 82."""
    times = [at for some in completions for at in some]
    return Recovery(Outcomes(completed_at=times), killed_at=20.0, returned_at=22.0, ended_at=82.0)


def _every(interval: float, start: float, end: float) -> Iterator[float]:
    at = start
    while at < end:
        yield at
        at += interval


def test_it_has_recovered_at_the_end_of_the_first_window_that_is_as_good_as_before() -> None:
    recovery = _recovery(_every(0.125, 0, 20), _every(1, 22, 30), _every(0.125, 30, 82))
    assert recovery.rate_before == 8
    assert recovery.seconds_to_recover == pytest.approx(13)
    assert recovery.rate_afterwards == pytest.approx(8, rel=0.01)
    assert recovery.rates(22, 32) == [1.0, pytest.approx(3.8)]


def test_a_server_that_stays_slow_never_recovers() -> None:
    recovery = _recovery(_every(0.125, 0, 20), _every(0.25, 22, 82))
    assert recovery.seconds_to_recover == float("inf")


def test_where_nothing_was_completed_before_nothing_recovers() -> None:
    assert _recovery(_every(1, 22, 82)).seconds_to_recover == float("inf")
