"""`make run`: the whole system on this machine, until Ctrl-C."""

import signal
import sys
import time
from types import FrameType
from typing import NoReturn

from devstack.console import Console, welcome
from devstack.process import StackError
from devstack.settings import read_stack_settings
from devstack.stack import Stack

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WATCH_INTERVAL = 0.2


class _StopRequested(BaseException):
    """A signal requested the stop."""


def main() -> int:
    """Run the stack until a signal stops it (0) or one of its parts ends (1)."""
    console = Console()
    for number in STOP_SIGNALS:
        signal.signal(number, _request_stop)
    began = time.monotonic()
    stack: Stack | None = None
    try:
        settings = read_stack_settings()
        stack = Stack(settings, on_line=console.print)
        console.print_message(f"Starting; the servers' logs are in {settings.stack_dir}/logs/ …")
        stack.start()
        console.print_message(welcome(settings, time.monotonic() - began))
        _watch(stack)
    except _StopRequested:
        console.print_message("Stopping …")
        return 0
    except StackError as error:
        console.print_error(str(error))
        return 1
    finally:
        _ignore_stop_signals()
        if stack and stack.parts:
            stack.stop()
            console.print_message("Stopped.")


def _watch(stack: Stack) -> NoReturn:
    while not (ended := stack.ended_parts()):
        time.sleep(WATCH_INTERVAL)
    raise StackError("\n".join(part.exit_report() for part in ended))


def _request_stop(number: int, frame: FrameType | None) -> NoReturn:
    # A second Ctrl-C must not interrupt the stopping.
    _ignore_stop_signals()
    raise _StopRequested


def _ignore_stop_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
