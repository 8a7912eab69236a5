"""Machine time: how long a machine has really worked, however slow or busy it is.

A second of machine time is what is done in a second by the machine on which the durations of
this package were chosen, when nothing else runs on it. `tests/faults/probes.py` measures it.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

CELL_SECONDS = 0.25
HANG_SECONDS = 1800.0
"""By the clock on the wall: nothing that is merely slow takes so long."""
READ_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Probe:
    """Something that is done again and again, to see how long it takes."""

    name: str
    pause: float
    """Seconds between one time and the next."""
    takes: float
    """Seconds of machine time."""


WORK = Probe("work", pause=0.5, takes=0.035)
"""A fixed amount of computing."""
TIMER = Probe("timer", pause=0.5, takes=1.1)
"""A workflow that is none of the product's waits for a second, on the same Temporal server."""
PROBES = {probe.name: probe for probe in (WORK, TIMER)}


class Pace:
    """How slow the machine was at each instant: as slow as the slowest of its probes then.

    Where nothing was measured it counts as idle, and it is never faster than the clock.
    Instants are those of `time.time()`.
    """

    def __init__(self, ends: Mapping[Probe, Sequence[float]] = {}) -> None:
        """Make it of the instants at which each probe ended, one after the other."""
        self._begin = min((times[0] for times in ends.values() if times), default=0.0)
        slowdowns: defaultdict[int, float] = defaultdict(lambda: 1.0)
        for probe, times in ends.items():
            for before, after in pairwise(times):
                slowdown = (after - before - probe.pause) / probe.takes
                for cell in range(self._cell(before), self._cell(after) + 1):
                    slowdowns[cell] = max(slowdowns[cell], slowdown)
        count = max(slowdowns, default=-1) + 1
        self._reached = [0.0, *accumulate(CELL_SECONDS / slowdowns[n] for n in range(count))]
        """Machine time from the begin of the record to the begin of each cell."""

    def seconds(self, begin: float, end: float) -> float:
        """Machine time between two instants."""
        return self._at(end) - self._at(begin)

    def after(self, begin: float, seconds: float) -> float:
        """The instant at which so much machine time has passed since the first one."""
        wanted = self._at(begin) + seconds
        last = len(self._reached) - 1
        cell = min(max(bisect_left(self._reached, wanted) - 1, 0), last)
        rest = wanted - self._reached[cell]
        is_measured = rest >= 0 and cell < last
        share = rest / (self._reached[cell + 1] - self._reached[cell]) if is_measured else 0.0
        begun = self._begin + cell * CELL_SECONDS
        return begun + (share * CELL_SECONDS if is_measured else rest)

    def _at(self, instant: float) -> float:
        last = len(self._reached) - 1
        cell = min(max(self._cell(instant), 0), last)
        rest = instant - self._begin - cell * CELL_SECONDS
        if rest < 0 or cell == last:
            return self._reached[cell] + rest
        share = rest / CELL_SECONDS
        return self._reached[cell] + share * (self._reached[cell + 1] - self._reached[cell])

    def _cell(self, instant: float) -> int:
        return int((instant - self._begin) // CELL_SECONDS)


class Machine:
    """The machine on which a run takes place, as its probes say it is now."""

    def __init__(self, record: Path, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._record = record
        self._pace = Pace()
        self._read_at = 0.0

    def pace(self) -> Pace:
        """How slow it has been until now."""
        now = self.clock()
        if now - self._read_at > READ_AGAIN_SECONDS and self._record.exists():
            self._read_at, self._pace = now, Pace(_read(self._record, now))
        return self._pace


class Wait:
    """A wait that is over after so much machine time; what takes longer still, hangs."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self._machine = machine
        self._seconds = seconds
        self._began_at = machine.clock()

    @property
    def is_over(self) -> bool:
        now = self._machine.clock()
        is_hanging = now - self._began_at > HANG_SECONDS
        return is_hanging or self._machine.pace().seconds(self._began_at, now) > self._seconds

    def __str__(self) -> str:
        """How long it has lasted."""
        waited = self._machine.clock() - self._began_at
        if waited > HANG_SECONDS:
            return f"hangs: nothing for {waited:.0f} s, which no slow machine explains"
        return f"after {self._seconds:.0f} s of machine time ({waited:.0f} s by the clock)"


def _read(record: Path, now: float) -> dict[Probe, list[float]]:
    """The instants at which each probe ended; one that ought to have ended is said to end now."""
    ends: defaultdict[Probe, list[float]] = defaultdict(list)
    for line in record.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            name, ended_at = line.split()
            ends[PROBES[name]].append(float(ended_at))
    for probe, times in ends.items():
        if now > times[-1] + probe.pause + probe.takes:
            times.append(now)
    return ends
