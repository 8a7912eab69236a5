"""Machine time passes as the clock does on an idle machine, and slower on one that is slower."""

from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path

import pytest

from tests.faults.pace import HANG_SECONDS, TIMER, WORK, Machine, Pace, Probe, Wait

BEGIN = 1_000.0


def ends(probe: Probe, slowdowns: Iterable[float], begin: float = BEGIN) -> list[float]:
    """When the probe ended each time, on a machine that was so much slower each time."""
    return list(accumulate((probe.pause + s * probe.takes for s in slowdowns), initial=begin))


def record(path: Path, *measured: tuple[Probe, list[float]]) -> Path:
    lines = [f"{probe.name} {end}\n" for probe, times in measured for end in times]
    path.write_text("".join(lines))
    return path


def at(*instants: float) -> Callable[[], float]:
    """A clock that shows each of them once, and the last one from then on."""
    left = list(instants)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_on_an_idle_machine_its_time_is_that_of_the_clock() -> None:
    measured = Pace({WORK: ends(WORK, [1] * 100), TIMER: ends(TIMER, [1] * 40)})

    assert measured.seconds(BEGIN + 3.3, BEGIN + 13.3) == pytest.approx(10)


def test_a_machine_is_never_taken_to_be_faster_than_the_clock() -> None:
    measured = Pace({WORK: ends(WORK, [0.1] * 100)})

    assert measured.seconds(BEGIN, BEGIN + 10) == pytest.approx(10)


def test_time_passes_slower_where_the_work_takes_longer() -> None:
    measured = Pace({WORK: ends(WORK, [4] * 100)})

    assert measured.seconds(BEGIN + 10, BEGIN + 30) == pytest.approx(5)


def test_time_passes_slower_where_temporal_is_late_though_the_machine_is_idle() -> None:
    measured = Pace({WORK: ends(WORK, [1] * 200), TIMER: ends(TIMER, [5] * 10)})

    assert measured.seconds(BEGIN + 10, BEGIN + 30) == pytest.approx(4)


def test_where_nothing_was_measured_time_is_that_of_the_clock() -> None:
    measured = Pace({WORK: ends(WORK, [4] * 10)})

    assert measured.seconds(BEGIN - 20, BEGIN - 10) == pytest.approx(10)
    assert measured.seconds(BEGIN + 50, BEGIN + 60) == pytest.approx(10)
    assert Pace().seconds(5, 8) == 3


@pytest.mark.parametrize("seconds", [0.1, 3.0, 8.0, 100.0])
@pytest.mark.parametrize("begin", [BEGIN - 5, BEGIN, BEGIN + 7.1, BEGIN + 500])
def test_the_instant_after_so_much_machine_time_is_so_far_away(
    begin: float, seconds: float
) -> None:
    measured = Pace({WORK: ends(WORK, [1, 3, 9, 1, 1, 4] * 5)})

    assert measured.seconds(begin, measured.after(begin, seconds)) == pytest.approx(seconds)


def test_a_probe_that_has_not_ended_yet_tells_how_slow_the_machine_is_now(tmp_path: Path) -> None:
    stuck = record(tmp_path / "pace", (WORK, [BEGIN]), (TIMER, [BEGIN + 38]))

    assert Machine(stuck, at(BEGIN + 40)).pace().seconds(BEGIN + 1, BEGIN + 40) < 1


def test_a_line_that_is_being_written_is_read_the_next_time(tmp_path: Path) -> None:
    measured = record(tmp_path / "pace", (WORK, ends(WORK, [4] * 10)))
    with measured.open("a") as lines:
        lines.write("work 10")

    assert Machine(measured, at(BEGIN + 5)).pace().seconds(BEGIN, BEGIN + 4) == pytest.approx(1)


def test_a_wait_lasts_longer_on_a_machine_that_is_slower(tmp_path: Path) -> None:
    idle = record(tmp_path / "idle", (WORK, ends(WORK, [1] * 200)))
    slow = record(tmp_path / "slow", (WORK, ends(WORK, [30] * 70)))

    waits = [Wait(Machine(path, at(BEGIN, BEGIN + 60)), 10) for path in (idle, slow)]

    assert [wait.is_over for wait in waits] == [True, False]


def test_a_wait_that_no_slowness_explains_is_called_a_hang(tmp_path: Path) -> None:
    slow = record(tmp_path / "slow", (WORK, ends(WORK, [300] * 600)))
    wait = Wait(Machine(slow, at(BEGIN, BEGIN + HANG_SECONDS + 1)), 60)

    assert wait.is_over
    assert "hangs" in str(wait)
