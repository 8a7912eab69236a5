"""Passwords: hashed with argon2id, off the event loop, a few at a time."""

import os
from base64 import b64encode
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
"""OWASP's recommendation for argon2id; a hash takes some 20 ms of one core."""

R = TypeVar("R")


class Passwords:
    """Hashes and verifies.

    As many at once as there are cores: more would only fight over them, and each takes its
    19 MiB. The rest of a rush waits here instead of starving other requests.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._limiter = CapacityLimiter(os.cpu_count() or 1)
        self._nobodys_hash = self._no_hash()

    async def hash(self, password: str) -> str:
        """An argon2id hash with a salt of its own, in PHC string format."""
        return await self._off_the_loop(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the right one.

        With no hash, because there is no such user, a hash is verified all the same: the time
        that an answer takes must not tell which addresses have accounts.
        """
        known = password_hash is not None
        matches = await self._off_the_loop(
            lambda: self._matches(password_hash or self._nobodys_hash, password)
        )
        return known and matches

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it would be hashed otherwise today: stronger, or just differently."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerificationError:
            return False

    def _no_hash(self) -> str:
        """A hash of nothing, which costs as much to verify as any other."""
        salt, digest = (
            b64encode(os.urandom(size)).decode().rstrip("=")
            for size in (self._hasher.salt_len, self._hasher.hash_len)
        )
        return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"

    async def _off_the_loop(self, work: Callable[[], R]) -> R:
        return await to_thread.run_sync(work, limiter=self._limiter)
