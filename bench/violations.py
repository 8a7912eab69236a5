"""No benchmark counts that violates an invariant."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

from bench.market import Market

LONGEST_CHECK = 300.0


def violations(market: Market) -> int:
    """How many violations the full check of the invariants finds, and what it could not check."""
    url = f"{market.stack.urls['api']}/api/operations/invariants"
    headers = {"Authorization": f"Bearer {market.stack.environment['OPERATOR_TOKEN']}"}
    asked_at = datetime.now(UTC)
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
        http.post(url, params={"scope": "full"}).raise_for_status()
        run = _finished(http, url, asked_at)
    return int(run["reported"] + run["repaired"] + run["unexamined"])


def _finished(http: httpx.Client, url: str, asked_at: datetime) -> dict[str, Any]:
    deadline = time.monotonic() + LONGEST_CHECK
    while time.monotonic() < deadline:
        run: dict[str, Any] | None = http.get(url).json()["lastRun"]
        if run is not None and _is_through(run, asked_at):
            return run
        time.sleep(0.5)
    raise TimeoutError("the check of the invariants did not end")


def _is_through(run: dict[str, Any], asked_at: datetime) -> bool:
    is_asked_for = datetime.fromisoformat(run["startedAt"]) >= asked_at and run["scope"] == "full"
    return is_asked_for and run["finishedAt"] is not None
