"""At most one call per key at a time, within this process.

As Go's `singleflight` (https://pkg.go.dev/golang.org/x/sync/singleflight): callers that arrive
while a call is in flight wait for it and share its outcome.
"""

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class CallCancelled(Exception):
    """The awaited call was cancelled by its own caller; it may be made again."""


class SingleFlight(Generic[K, T]):
    """The calls in flight, by key."""

    def __init__(self) -> None:
        self._calls: dict[K, asyncio.Future[T]] = {}

    def is_in_flight(self, key: K) -> bool:
        return key in self._calls

    async def wait(self, key: K) -> T:
        """Wait for the call that is in flight.

        Raises:
            KeyError: there is none.
            CallCancelled: its caller was cancelled.
            Exception: whatever the call raises.
        """
        return await asyncio.shield(self._calls[key])

    async def run(self, key: K, call: Coroutine[Any, Any, T]) -> T:
        """Make the call; none with this key may be in flight."""
        flight = self._calls[key] = asyncio.get_running_loop().create_future()
        try:
            result = await call
        except BaseException as error:
            flight.set_exception(error if isinstance(error, Exception) else CallCancelled())
            flight.exception()  # marks it as retrieved, in case nobody waits
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._calls[key]
