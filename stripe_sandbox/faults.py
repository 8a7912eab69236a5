"""Faults on demand: what a network and a payment provider do on a bad day."""

import asyncio
import random
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stripe_sandbox.errors import Json
from stripe_sandbox.ids import new_id

EVERYTHING = "/v1/**"


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
    """It was done and committed; the connection drops without an answer."""
    LOST_REQUEST = "lost_request"
    """The connection drops and nothing was done."""
    RATE_LIMITED = "rate_limited"
    """429; nothing was done and nothing is stored."""
    REFUSED = "refused"
    """400: nothing was done, and the same key gets the same."""
    BALANCE_SHORT = "balance_short"
    """400 `balance_insufficient`, for refunds: nothing was done, and the same key gets the same."""


@dataclass(kw_only=True)
class FaultRule:
    """Which requests a fault meets, and how often."""

    kind: FaultKind
    method: str | None = None
    """None is any."""
    path: str = EVERYTHING
    """A glob: `*` is one segment of the path, `**` any number."""
    times: int | None = 1
    """How many more requests it meets; None until it is removed.

    `held` stays in force at 0, for those that it holds.
    """
    delay_seconds: float = 0.0
    """Before whatever the kind does."""
    probability: float = 1.0
    """The chance that a matching request is met."""
    seed: int | None = None
    """Makes the chances repeatable."""
    status: int = 500
    """500 or 503, for `error`."""
    id: str = field(default_factory=lambda: new_id("fault"))

    def __post_init__(self) -> None:
        """Refuse a rule that can meet nothing.

        Raises:
            ValueError: an impossible path, count, delay, chance or status.
        """
        self.kind = FaultKind(self.kind)
        if not self.path.startswith("/"):
            raise ValueError("path starts with a slash; `/v1/**` is everything")
        if self.times is not None and self.times < 1:
            raise ValueError("times is at least 1, or null")
        if self.delay_seconds < 0 or not 0 <= self.probability <= 1:
            raise ValueError("delay_seconds is not negative and probability is from 0 to 1")
        if self.status not in {500, 503}:
            raise ValueError("status is 500 or 503")
        self._glob = _compiled(self.path)
        self._random = random.Random(self.seed)  # noqa: S311 - chances, not secrets
        self._released = asyncio.Event()

    def matches(self, method: str, path: str) -> bool:
        """Whether the rule is about this request."""
        return self.method in {None, method} and self._glob.fullmatch(path) is not None

    def strikes(self) -> bool:
        """Draw the chance."""
        return self._random.random() < self.probability

    def release(self) -> None:
        """Let go of the requests that the rule holds."""
        self._released.set()

    async def delay(self) -> None:
        """Wait as long as the rule wants."""
        await asyncio.sleep(self.delay_seconds)
        if self.kind is FaultKind.HELD:
            await self._released.wait()

    def json(self) -> Json:
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
    """The rules in force, in the order they were made; the first that strikes wins."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> FaultRule:
        """Put a rule in force."""
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove every rule, and release what one holds."""
        for rule in self.rules:
            rule.release()
        self.rules.clear()

    def remove(self, id: str) -> bool:
        """Remove one rule, and release what it holds; False if there is none."""
        for rule in self.rules:
            if rule.id == id:
                rule.release()
                self.rules.remove(rule)
                return True
        return False

    def take(self, method: str, path: str) -> FaultRule | None:
        """The fault that this request meets, counted."""
        for rule in self.rules:
            if rule.times != 0 and rule.matches(method, path) and rule.strikes():
                if rule.times is not None:
                    rule.times -= 1
                if rule.times == 0 and rule.kind is not FaultKind.HELD:
                    self.rules.remove(rule)
                return rule
        return None


def _compiled(glob: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", glob)
    meanings = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))
