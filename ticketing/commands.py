"""Short commands that ask Temporal something and end."""

import asyncio
import os
import sys
import traceback
from collections.abc import Coroutine
from typing import Any, NoReturn


class CommandFailed(Exception):
    """The command could not do its work; the message says why."""


def run_command(command: Coroutine[Any, Any, str]) -> NoReturn:
    """Run the command, print its answer, and end the process: 0 if it did its work, else 1.

    Ends it without tearing the interpreter down: a thread of Temporal's client may just be
    handing over its last answer, and then one process in ten is aborted instead
    (temporalio/sdk-python#300, seen with 1.35).
    """
    status = 1
    try:
        print(asyncio.run(command))  # noqa: T201 - a command's answer
        status = 0
    except CommandFailed as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
