"""At most one call per key at a time, within this process.

As Go's `singleflight` (https://pkg.go.dev/golang.org/x/sync/singleflight): whoever comes while a
call is under way waits for it and shares its outcome.
"""

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class CallCancelled(Exception):
    """The call that was waited for was cancelled by whoever made it; it may be made again."""


class SingleFlight(Generic[K, T]):
    """The calls that are under way, by key."""

    def __init__(self) -> None:
        self._calls: dict[K, asyncio.Future[T]] = {}

    def is_under_way(self, key: K) -> bool:
        """Whether there is a call to wait for."""
        return key in self._calls

    async def outcome(self, key: K) -> T:
        """Wait for the call that is under way.

        Raises:
            KeyError: there is none.
            CallCancelled: its maker gave it up.
            Exception: whatever the call raises.
        """
        return await asyncio.shield(self._calls[key])

    async def lead(self, key: K, call: Coroutine[Any, Any, T]) -> T:
        """Make the call; there must be none under way."""
        flight = self._calls[key] = asyncio.get_running_loop().create_future()
        try:
            result = await call
        except BaseException as error:
            flight.set_exception(error if isinstance(error, Exception) else CallCancelled())
            flight.exception()  # retrieved: perhaps nobody waits for it
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._calls[key]
