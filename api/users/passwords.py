"""Password hashing with argon2id, in threads, a few at a time."""

import os
from base64 import b64encode
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

MEMORY_KIB = 19 * 1024
TIME_COST = 2
PARALLELISM = 1
"""OWASP's recommendation for argon2id; a hash takes some 20 ms of one core."""

R = TypeVar("R")


class Passwords:
    """Hashes and verifies passwords.

    At most as many at once as there are cores: each takes a core and 19 MiB, so more of them
    would only compete. Further ones wait here and do not starve other requests.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM
        )
        self._limiter = CapacityLimiter(os.cpu_count() or 1)
        self._dummy_hash = self._make_dummy_hash()

    async def hash(self, password: str) -> str:
        """A salted argon2id hash in PHC string format."""
        return await self._run_in_thread(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password matches the hash.

        Without a hash, because there is no such user, a dummy hash is verified: the response
        time must not reveal which addresses have accounts.
        """
        is_known = password_hash is not None
        matches = await self._run_in_thread(
            lambda: self._matches(password_hash or self._dummy_hash, password)
        )
        return is_known and matches

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerificationError:
            return False

    def _make_dummy_hash(self) -> str:
        """A hash of no password, which takes as long to verify as any other."""
        salt, digest = (
            b64encode(os.urandom(size)).decode().rstrip("=")
            for size in (self._hasher.salt_len, self._hasher.hash_len)
        )
        return f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}${salt}${digest}"

    async def _run_in_thread(self, work: Callable[[], R]) -> R:
        return await to_thread.run_sync(work, limiter=self._limiter)
