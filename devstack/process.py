"""One process of the stack: started, watched and stopped; it never outlives its parent.

The runners on the registries (honcho, circus, supervisor) start and stop everything at once,
wait for nothing to be ready, and leave their children behind when they are killed.
A worker needs its servers to start before it and to stop after it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO

REPOSITORY = Path(__file__).resolve().parent.parent
DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
START_TIMEOUT = 30.0
STOP_TIMEOUT = 25.0  # a worker lets its activities finish for 20 s
POLL_INTERVAL = 0.02

OnLine = Callable[[str, str], None]
"""Takes a part's name and a line of its output."""


class StackError(Exception):
    """What keeps the stack from running, in one line."""


@dataclass
class Part:
    """One process of the stack.

    Its output goes to a log file, and line by line to `on_line` where there is one.
    """

    name: str
    command: Sequence[str]
    log: Path
    is_ready: Callable[[], bool]
    environ: Mapping[str, str] | None = None
    cwd: Path | None = None
    on_line: OnLine | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _pump: Thread | None = field(default=None, init=False, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id while the part runs."""
        return self._process.pid if self._process and self.is_running else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the process; it never outlives the one that called this."""
        if self.is_running:
            raise StackError(f"{self.name} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the stack's own command lines
                [sys.executable, "-IS", str(DIE_WITH_PARENT), str(os.getpid()), *self.command],
                env=self.environ,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.on_line else log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the whole foreground group; the stack alone decides who stops when.
                start_new_session=True,
            )
        if self.on_line and self._process.stdout:
            self._pump = Thread(
                target=self._relay, args=(self._process.stdout, self.on_line), daemon=True
            )
            self._pump.start()

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until the part is ready.

        Raises:
            StackError: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.is_running:
                raise StackError(self.exit_report())
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} was not ready in {timeout:.0f} s{self.tail()}")
            time.sleep(POLL_INTERVAL)

    def ask_to_stop(self) -> None:
        """Send SIGTERM without waiting; a frozen process is thawed so that it can react."""
        self._signal(signal.SIGTERM)
        self.thaw()

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop the process gracefully, or kill it after the timeout."""
        self.ask_to_stop()
        if not self._has_ended_within(timeout):
            self.kill()

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._signal(signal.SIGKILL)
        self._has_ended_within(STOP_TIMEOUT)

    def freeze(self) -> None:
        """Suspend the process, as on a machine that swaps or has lost its network.

        Its connections stay open, and data sent to it waits. Wait until it is ready first:
        before that, it may not yet die with its parent.
        """
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen process."""
        self._signal(signal.SIGCONT)

    def exit_report(self) -> str:
        """Exit code and last log lines of a part that has ended."""
        return f"{self.name} ended: exit code {self.exit_code}{self.tail()}"

    def tail(self, lines: int = 15) -> str:
        """The last lines of the part's log, for an error message; empty if already printed."""
        if self.on_line:
            return ""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(["", f"  the end of {self.log}:", *text.splitlines()[-lines:]])

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self.is_running:
            self._process.send_signal(number)

    def _has_ended_within(self, timeout: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        if self._pump:
            self._pump.join(timeout=1)
        return True

    def _relay(self, output: IO[bytes], on_line: OnLine) -> None:
        with output, self.log.open("ab") as log:
            for line in output:
                log.write(line)
                log.flush()
                on_line(self.name, line.decode(errors="replace").rstrip())
