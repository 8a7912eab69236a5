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


class _Stopped(BaseException):
    """Somebody asked the stack to stop."""


def main() -> int:
    """Run the stack until it is told to stop (0) or one of its parts ends (1)."""
    console = Console()
    for number in STOP_SIGNALS:
        signal.signal(number, _raise_stopped)
    began = time.monotonic()
    stack: Stack | None = None
    try:
        settings = read_stack_settings()
        stack = Stack(settings, on_line=console.print)
        console.say(f"Starting; the servers' logs are in {settings.stack_dir}/logs/ …")
        stack.start()
        console.say(welcome(settings, time.monotonic() - began))
        _watch(stack)
    except _Stopped:
        console.say("Stopping …")
        return 0
    except StackError as error:
        console.complain(str(error))
        return 1
    finally:
        _ignore_stop_signals()
        if stack and stack.parts:
            stack.stop()
            console.say("Stopped.")


def _watch(stack: Stack) -> NoReturn:
    while not (ended := stack.ended_parts()):
        time.sleep(WATCH_INTERVAL)
    raise StackError("\n".join(part.obituary() for part in ended))


def _raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: a second Ctrl-C must not cut the stopping short.
    _ignore_stop_signals()
    raise _Stopped


def _ignore_stop_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
