"""A running sandbox for a test: a real server in the test's own event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import stripe

from stripe_sandbox.api import RecordedRequest
from stripe_sandbox.app import Sandbox, create_sandbox
from stripe_sandbox.config import ALL_EVENTS, SandboxConfig
from stripe_sandbox.control import ledger_summary
from stripe_sandbox.errors import Json
from stripe_sandbox.faults import ANY_PATH, FaultKind, FaultRule
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.server import SandboxServer, listen, url_of
from stripe_sandbox.webhooks import WebhookDestination


class RunningSandbox:
    """A handle on a sandbox that serves at `url`."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.url = url
        self._sandbox = sandbox

    @property
    def ledger(self) -> Ledger:
        """The sandbox's state."""
        return self._sandbox.api.ledger

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests that reached Stripe's API: (method, path, idempotency key)."""
        return list(self._sandbox.api.requests)

    def count(self, method: str, path: str) -> int:
        """How many requests match the method and the path, a glob as in fault rules."""
        rule = FaultRule(kind=FaultKind.LATENCY, method=method, path=path)
        return sum(rule.matches(seen.method, seen.path) for seen in self.requests)

    def set_fault(
        self,
        kind: FaultKind | str,
        *,
        method: str | None = None,
        path: str = ANY_PATH,
        times: int | None = 1,
        delay_seconds: float = 0.0,
        probability: float = 1.0,
        seed: int | None = None,
        status: int = 500,
    ) -> FaultRule:
        """Apply a fault to the next `times` matching requests; None: until it is removed."""
        return self._sandbox.api.faults.add(
            FaultRule(
                kind=FaultKind(kind),
                method=method,
                path=path,
                times=times,
                delay_seconds=delay_seconds,
                probability=probability,
                seed=seed,
                status=status,
            )
        )

    def clear_faults(self) -> None:
        """Remove every fault, and release the requests that are held."""
        self._sandbox.api.faults.clear()

    def deliver_webhooks_to(self, url: str, secret: str) -> None:
        """Post events there from now on."""
        self._sandbox.api.webhooks.destination = WebhookDestination((url,), secret)
        self._sandbox.api.webhooks.wake()

    def payment_intent(self, id: str) -> Json:
        """The payment intent as it is now.

        Raises:
            KeyError: there is none.
        """
        intent = self.ledger.find("payment_intent", id)
        if intent is None:
            raise KeyError(id)
        return intent.body

    def payment_intents(self) -> list[Json]:
        """Every payment intent, newest first."""
        return [intent.body for intent in self.ledger.objects("payment_intent")]

    def charges(self, payment_intent: str) -> list[Json]:
        """The charges of a payment intent, newest first."""
        page = self.ledger.objects("charge", payment_intent=payment_intent)
        return [charge.body for charge in page]

    def refunds(self, payment_intent: str) -> list[Json]:
        """The refunds of a payment intent, newest first."""
        page = self.ledger.objects("refund", payment_intent=payment_intent)
        return [refund.body for refund in page]

    def events(self) -> list[Json]:
        """Every event, oldest first."""
        return [event.body for event in self.ledger.objects("event", before=0)]

    def summary(self) -> list[Json]:
        """What `/_sandbox/ledger` shows: the amounts captured and refunded, per payment intent."""
        return ledger_summary(self.ledger)

    def authenticate(self, payment_intent: str, *, approve: bool = True) -> Json:
        """Decide on the bank's page as the buyer; the payment intent as it is then.

        Raises:
            ValueError: the payment intent is not waiting for a decision.
        """
        if not self._sandbox.bank.decide(payment_intent, approve=approve):
            raise ValueError(f"{payment_intent} is {self.payment_intent(payment_intent)['status']}")
        return self.payment_intent(payment_intent)

    def settle_refund(self, refund: str, *, succeeds: bool = True) -> None:
        """Complete or fail a refund as the bank.

        Raises:
            ValueError: there is no such refund, or it has failed before.
        """
        if not self._sandbox.bank.settle_refund(refund, succeeds=succeeds):
            raise ValueError(refund)


@contextlib.asynccontextmanager
async def running_sandbox(
    *,
    database: Path | None = None,
    webhook_urls: tuple[str, ...] = (),
    webhook_secret: str | None = None,
    enabled_events: frozenset[str] = ALL_EVENTS,
    webhook_retry_delays: tuple[float, ...] = (0.05,),
    webhook_transport: httpx.AsyncBaseTransport | None = None,
    allow_faults: bool = True,
) -> AsyncIterator[RunningSandbox]:
    """Serve a sandbox on a free loopback port until the block ends."""
    config = SandboxConfig(
        database=database,
        webhook_urls=webhook_urls,
        webhook_secret=webhook_secret,
        enabled_events=enabled_events,
        webhook_retry_delays=webhook_retry_delays,
        allow_faults=allow_faults,
    )
    sandbox = create_sandbox(config, webhook_transport=webhook_transport)
    listener = listen("127.0.0.1", 0)
    server = SandboxServer(sandbox)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield RunningSandbox(sandbox, url_of(listener))
    finally:
        sandbox.api.faults.clear()  # a held request would keep the server from stopping
        server.stop()
        await serving


@contextlib.asynccontextmanager
async def stripe_client(
    url: str, api_key: str = "sk_test_sandbox"
) -> AsyncIterator[stripe.StripeClient]:
    """The official client, pointed at a sandbox, that never retries by itself."""
    http_client = stripe.HTTPXClient()
    try:
        yield stripe.StripeClient(
            api_key,
            base_addresses={"api": url},
            http_client=http_client,
            max_network_retries=0,
        )
    finally:
        await http_client.close_async()  # type: ignore[no-untyped-call] # stripe leaves it so
