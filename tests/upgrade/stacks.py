"""`make run` of a checkout, stopped as by Ctrl-C or killed as by a power cut."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.revisions import Checkout
from devstack.process import REPOSITORY, Part, StackError
from devstack.settings import StackSettings
from tests.devstack.processes import children, is_alive
from tests.devstack.waiting import eventually

IS_UP = "Holdfast is up"
START_SECONDS = 120.0
STOP_SECONDS = 120.0


def working_tree(python: str) -> Checkout:
    """The files as they are now."""
    return Checkout("the working tree", REPOSITORY, python)


@contextmanager
def running_stack(
    checkout: Checkout, settings: StackSettings, rules: Mapping[str, str], log: Path
) -> Iterator[Part]:
    """Run the checkout's stack during the block.

    Raises:
        StackError: it did not come up.
    """
    ours = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    ports = {name: str(port) for name, port in settings.ports.items()}
    stack = Part(
        name=f"the stack of {checkout.label}",
        command=[checkout.python, "-m", "devstack"],
        log=log,
        is_ready=lambda: IS_UP in log.read_text(errors="replace"),
        environ={**ours, **ports, **rules, "STACK_DIR": str(settings.stack_dir)},
        cwd=checkout.directory,
    )
    stack.start()
    try:
        stack.wait_until_ready(START_SECONDS)
        yield stack
    finally:
        stack.stop(STOP_SECONDS)


def stop(stack: Part) -> None:
    """Stop it gracefully.

    Raises:
        StackError: it did not end well, or not in time.
    """
    stack.stop(STOP_SECONDS)
    if stack.exit_code:
        raise StackError(stack.exit_report())


def kill(stack: Part) -> None:
    """End all of its processes with SIGKILL, at once."""
    assert stack.pid is not None
    parts = children(stack.pid)
    stack.kill()
    eventually(lambda: not any(is_alive(pid) for pid in parts))
