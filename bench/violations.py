"""Whether everything that was done was done right: no benchmark counts that breaks a promise."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx

from bench.market import Market

LONGEST_CHECK = 300.0


def violations(market: Market) -> int:
    """What the full check of the invariants finds, and the money that does not fit the orders."""
    return _findings(market) + _unpaid_or_overpaid(market)


def _findings(market: Market) -> int:
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


def _unpaid_or_overpaid(market: Market) -> int:
    """Completed orders, against what Stripe's own ledger has captured: as many, for as much."""
    orders = market.database["orders"]
    completed = {str(o["_id"]): o["ticket"]["price"] for o in orders.find({"status": "completed"})}
    ledger = httpx.get(
        f"{market.stack.urls['stripe_sandbox']}/_sandbox/ledger", timeout=60, trust_env=False
    ).json()
    captured = [
        (intent["metadata"]["order_id"], intent["captured"])
        for intent in ledger["payment_intents"]
        if intent["captured"]
    ]
    return len(set(captured) ^ set(completed.items())) + len(captured) - len(set(captured))
