"""Faults on demand: errors, delays and lost connections for the requests that a rule matches."""

import asyncio
import random
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stripe_sandbox.errors import Json
from stripe_sandbox.ids import new_id

ANY_PATH = "/v1/**"


class FaultKind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    """The answer takes `delay_seconds`, and the request holds its idempotency key meanwhile."""
    HELD = "held"
    """The request waits until its rule is removed, holding its idempotency key meanwhile."""
    ERROR = "error"
    """500 or 503; nothing was done and nothing is stored, so a retry starts afresh."""
    ERROR_STORED = "error_stored"
    """500 after execution began: nothing was done, and the same key gets the same 500."""
    LOST_ANSWER = "lost_answer"
    """The request takes effect; the connection drops without an answer."""
    LOST_REQUEST = "lost_request"
    """The connection drops and the request has no effect."""
    RATE_LIMITED = "rate_limited"
    """429; nothing was done and nothing is stored."""
    REFUSED = "refused"
    """400: nothing was done, and the same key gets the same answer."""
    BALANCE_SHORT = "balance_short"
    """400 `balance_insufficient`, for refunds: nothing is done; the same key gets the same."""


@dataclass(kw_only=True)
class FaultRule:
    """Which requests a fault applies to, and how often."""

    kind: FaultKind
    method: str | None = None
    """None is any."""
    path: str = ANY_PATH
    """A glob: `*` is one segment of the path, `**` any number."""
    times: int | None = 1
    """How many more requests it applies to; None: until it is removed.

    A `held` rule stays in the list at 0, for the requests that it holds.
    """
    delay_seconds: float = 0.0
    """Wait so long before the effect of `kind`."""
    probability: float = 1.0
    """The chance that the rule applies to a matching request."""
    seed: int | None = None
    """Makes the random choices repeatable."""
    status: int = 500
    """500 or 503, for `error`."""
    id: str = field(default_factory=lambda: new_id("fault"))

    def __post_init__(self) -> None:
        """Reject an invalid rule.

        Raises:
            ValueError: an impossible path, count, delay, chance or status.
        """
        self.kind = FaultKind(self.kind)
        if not self.path.startswith("/"):
            raise ValueError("path starts with a slash; `/v1/**` is every path")
        if self.times is not None and self.times < 1:
            raise ValueError("times is at least 1, or null")
        if self.delay_seconds < 0 or not 0 <= self.probability <= 1:
            raise ValueError("delay_seconds is not negative and probability is from 0 to 1")
        if self.status not in {500, 503}:
            raise ValueError("status is 500 or 503")
        self._glob = _compile_glob(self.path)
        self._random = random.Random(self.seed)  # noqa: S311 - test behaviour, not secrets
        self._released = asyncio.Event()

    def matches(self, method: str, path: str) -> bool:
        """Whether the rule's method and path match."""
        return self.method in {None, method} and self._glob.fullmatch(path) is not None

    def applies_by_chance(self) -> bool:
        """Decide at random, by `probability`, whether the rule applies."""
        return self._random.random() < self.probability

    def release(self) -> None:
        """Let the requests that the rule holds continue."""
        self._released.set()

    async def wait(self) -> None:
        """Wait for the rule's delay and, if it is `held`, for its removal."""
        await asyncio.sleep(self.delay_seconds)
        if self.kind is FaultKind.HELD:
            await self._released.wait()

    def as_json(self) -> Json:
        """The rule as the control API shows it."""
        match: dict[str, Any] = {"method": self.method, "path": self.path}
        return {
            "id": self.id,
            "match": match,
            "kind": self.kind.value,
            "times": self.times,
            "delay_seconds": self.delay_seconds,
            "probability": self.probability,
            "seed": self.seed,
            "status": self.status,
        }


class Faults:
    """The active rules, oldest first; of those that match a request, the first one applies."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> FaultRule:
        """Add a rule."""
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove every rule, and release the requests that are held."""
        for rule in self.rules:
            rule.release()
        self.rules.clear()

    def remove(self, id: str) -> bool:
        """Remove a rule and release the requests that it holds; False if there is no such rule."""
        for rule in self.rules:
            if rule.id == id:
                rule.release()
                self.rules.remove(rule)
                return True
        return False

    def next_for(self, method: str, path: str) -> FaultRule | None:
        """The rule that applies to this request, if any; it is counted as used."""
        for rule in self.rules:
            if rule.times != 0 and rule.matches(method, path) and rule.applies_by_chance():
                if rule.times is not None:
                    rule.times -= 1
                if rule.times == 0 and rule.kind is not FaultKind.HELD:
                    self.rules.remove(rule)
                return rule
        return None


def _compile_glob(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", glob)
    meanings = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))
