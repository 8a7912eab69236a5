"""CPU time and memory of each process of the stack."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from devstack.stack import Stack

MEBIBYTE = 1 << 20


@dataclass
class CpuTimes:
    """Seconds of CPU by process, between two readings."""

    seconds: dict[str, float] = field(default_factory=dict)

    def per(self, count: int) -> dict[str, float]:
        """Milliseconds per item by process, for `count` items."""
        return {name: seconds * 1000 / count for name, seconds in self.seconds.items()}


class Processes:
    """The stack's processes and this one, which makes the load."""

    def __init__(self, stack: Stack, more: Mapping[str, int] | None = None) -> None:
        pids = {name: part.pid for name, part in stack.parts.items()}
        pids |= {"load": os.getpid(), **(more or {})}
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items() if pid}

    @contextmanager
    def cpu_times(self) -> Iterator[CpuTimes]:
        """The CPU time of each process during the block, filled in at its end."""
        with measured_cpu_times(self._processes) as times:
            yield times

    def memory(self) -> dict[str, float]:
        """Resident memory of each process, in MiB."""
        return {
            name: process.memory_info().rss / MEBIBYTE for name, process in self._processes.items()
        }

    def peak_memory(self) -> dict[str, float]:
        """Peak resident memory of each process, in MiB."""
        return {name: _peak(process.pid) for name, process in self._processes.items()}


@contextmanager
def measured_cpu_times(processes: Mapping[str, psutil.Process]) -> Iterator[CpuTimes]:
    """The CPU time of each of the processes during the block, filled in at its end."""
    before = _cpu_seconds(processes)
    times = CpuTimes()
    yield times
    times.seconds.update(
        {name: after - before[name] for name, after in _cpu_seconds(processes).items()}
    )


def _cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    found = {name: process.cpu_times() for name, process in processes.items()}
    return {name: times.user + times.system for name, times in found.items()}


def _peak(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        kibibytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return kibibytes / 1024
