"""Faults of the Stripe sandbox in a running stack, set over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from devstack.stack import Stack


@contextmanager
def stripe_fault(stack: Stack, **rule: Any) -> Iterator[None]:
    """A fault rule that is active during the block."""
    assert httpx.post(_faults(stack), json=rule).is_success
    try:
        yield
    finally:
        assert httpx.delete(_faults(stack)).is_success


def has_struck(stack: Stack) -> bool:
    """Whether the `held` fault holds as many requests as it should."""
    (rule,) = httpx.get(_faults(stack)).json()["faults"]
    return bool(rule["times"] == 0)


def _faults(stack: Stack) -> str:
    return f"{stack.urls['stripe_sandbox']}/_sandbox/faults"
