"""The market that the browsers visit: real processes, and Stripe's sandbox to be broken."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from devstack.ports import LOOPBACK, free_ports
from devstack.process import REPOSITORY, Part
from devstack.settings import StackSettings
from devstack.stack import Stack

Json = dict[str, Any]

LENIENT = {"PAYMENT_ATTEMPTS": "2", "PAYMENT_WAIT": "0.5"}
"""The rules of a shop where a second card may pay, and where a payment that takes its time is not
waited for, but shown as being checked.
"""
SHORT = {"RESERVATION_TTL": "5"}
REAL_STRIPE = {"STRIPE_API_BASE": "", "STRIPE_PUBLISHABLE_KEY": "pk_test_of_the_tests"}
WITHOUT_TEMPORAL = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}

INTENTS = "/v1/payment_intents**"
"""What the worker asks of Stripe to move money; browsers ask for payment methods only."""


@dataclass(frozen=True)
class Ticket:
    """A ticket on the market."""

    id: str
    title: str

    @property
    def path(self) -> str:
        return f"/tickets/{self.id}"


class Market:
    """A stack, and further API processes on it for whoever wants other rules.

    All of them share the data, the worker and the sandbox.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.urls["api"]
        self.sandbox = stack.urls["stripe_sandbox"]
        self._shops: dict[tuple[tuple[str, str], ...], tuple[str, Part]] = {}
        self._seller: httpx.Client | None = None

    def shop(self, **rules: str) -> str:
        """Where the market is served under these settings; an empty one is left out.

        A shop takes two seconds to open, and stays open: share one where you can.
        """
        key = tuple(sorted(rules.items()))
        if key not in self._shops:
            self._shops[key] = self._open_shop(rules)
        url, _ = self._shops[key]
        return url

    def _open_shop(self, rules: dict[str, str]) -> tuple[str, Part]:
        (port,) = free_ports(1)
        url = f"http://{LOOPBACK}:{port}"
        name = f"api-{port}"
        api = self.stack.parts["api"]
        part = Part(
            name=name,
            command=api.command,
            log=api.log.with_name(f"{name}.log"),
            is_ready=partial(_answers, url),
            environ={**self.stack.environment, **rules, "API_PORT": str(port)},
            cwd=REPOSITORY,
        )
        part.start()
        part.wait_until_ready()
        return url, part

    def offer(self, title: str = "Front row, Friday", price: int = 2500) -> Ticket:
        """Put a ticket on sale, in the name of somebody whom the test never sees."""
        if self._seller is None:
            self._seller = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
            user = {"email": "unseen.seller@example.com", "password": "correct horse battery"}
            assert self._seller.post("/api/users/signup", json=user).is_success
        listed = self._seller.post("/api/tickets", json={"title": title, "price": price})
        assert listed.status_code == 201, listed.text
        return Ticket(listed.json()["id"], title)

    def close(self) -> None:
        """Stop the further processes."""
        if self._seller:
            self._seller.close()
        parts = [part for _, part in self._shops.values()]
        for part in parts:
            part.ask_to_stop()
        for part in parts:
            part.stop()

    def break_stripe(self, kind: str, *, path: str = INTENTS, **how: object) -> None:
        """Let a fault meet the next requests to Stripe: one, or as many `times` as are named."""
        fault = {"match": {"path": path}, "kind": kind, **how}
        answer = httpx.post(f"{self.sandbox}/_sandbox/faults", json=fault)
        assert answer.status_code == 201, answer.text

    def silence_stripe(self) -> None:
        """Stripe takes requests and answers none of them, until it is mended."""
        self.stack.freeze("stripe")

    def mend_stripe(self) -> None:
        self.stack.thaw("stripe")
        assert httpx.delete(f"{self.sandbox}/_sandbox/faults").is_success

    @contextmanager
    def frozen_worker(self) -> Iterator[None]:
        """Nothing gets on with orders until the block ends."""
        self.stack.freeze("worker")
        try:
            yield
        finally:
            self.stack.thaw("worker")

    def payment_intents(self, order_id: str) -> list[Json]:
        """What Stripe's own ledger holds for the order."""
        ledger = httpx.get(f"{self.sandbox}/_sandbox/ledger").json()
        return [i for i in ledger["payment_intents"] if i["metadata"]["order_id"] == order_id]

    def captured(self, order_id: str) -> list[int]:
        """The amounts that were charged for the order."""
        return [i["captured"] for i in self.payment_intents(order_id) if i["captured"]]


@contextmanager
def running_market(directory: Path) -> Iterator[Market]:
    """A market on free ports, until the block ends; call it in a thread that stays."""
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    with Stack(StackSettings.on_free_ports(directory), environ) as stack:
        market = Market(stack)
        try:
            yield market
        finally:
            market.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
