"""Checks the invariants after a benchmark: results with violations do not count."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

from bench.market import Market

CHECK_TIMEOUT = 300.0


def violations(market: Market) -> int:
    """How many violations the full check of the invariants finds, and what it could not check."""
    url = f"{market.stack.urls['api']}/api/operations/invariants"
    headers = {"Authorization": f"Bearer {market.stack.environment['OPERATOR_TOKEN']}"}
    requested_at = datetime.now(UTC)
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
        http.post(url, params={"scope": "full"}).raise_for_status()
        run = _await_finished_run(http, url, requested_at)
    return int(run["reported"] + run["repaired"] + run["unexamined"])


def _await_finished_run(http: httpx.Client, url: str, requested_at: datetime) -> dict[str, Any]:
    deadline = time.monotonic() + CHECK_TIMEOUT
    while time.monotonic() < deadline:
        run: dict[str, Any] | None = http.get(url).json()["lastRun"]
        if run is not None and _is_finished(run, requested_at):
            return run
        time.sleep(0.5)
    raise TimeoutError("the check of the invariants did not end")


def _is_finished(run: dict[str, Any], requested_at: datetime) -> bool:
    is_requested = (
        datetime.fromisoformat(run["startedAt"]) >= requested_at and run["scope"] == "full"
    )
    return is_requested and run["finishedAt"] is not None
