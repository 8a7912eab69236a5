"""Waiting for something to become true, with a deadline."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar, overload

from ticketing.clock import utc_now

T = TypeVar("T")

TIMEOUT_SECONDS = 20.0
"""Far above what anything here takes; only a failing test waits so long."""


@overload
async def eventually(check: Callable[[], Coroutine[Any, Any, T]], timeout: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T], timeout: float = ...) -> T: ...
async def eventually(check: Callable[[], Any], timeout: float = TIMEOUT_SECONDS) -> Any:
    """What the check gives as soon as that is true.

    Raises:
        AssertionError: it did not become true in time.
    """
    result = await _result_of(check)
    try:
        async with asyncio.timeout(timeout):
            while not result:
                await asyncio.sleep(0.02)
                result = await _result_of(check)
    except TimeoutError:
        raise AssertionError(f"still {result!r} after {timeout:.0f} s") from None
    return result


async def until(instant: datetime) -> None:
    """Wait for the clock to show the instant."""
    await eventually(lambda: utc_now() >= instant)


async def _result_of(check: Callable[[], Any]) -> Any:
    result = check()
    return await result if inspect.isawaitable(result) else result
