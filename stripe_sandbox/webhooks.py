"""Webhooks: every event is signed, and posted until it is acknowledged.

Stripe: "Receive Stripe events in your webhook endpoint". At least once, in no order.
"""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import logging
import time
from dataclasses import dataclass, field

import httpx

from stripe_sandbox.config import ALL_EVENTS, require_http_url
from stripe_sandbox.ledger import Delivery, Ledger

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
MAX_AGE_SECONDS = 3 * 24 * 60 * 60
"""Stripe: delivery is attempted for up to three days."""
MAX_CONCURRENT_DELIVERIES = 16


@dataclass(frozen=True)
class WebhookDestination:
    """Where events go, and the secret that signs them.

    Several URLs are the processes behind one load balancer: each event goes to one of them.
    """

    urls: tuple[str, ...]
    secret: str = field(repr=False)
    enabled_events: frozenset[str] = ALL_EVENTS

    def __post_init__(self) -> None:
        """Reject a URL that is not http(s)."""
        for url in self.urls:
            require_http_url(url)

    def accepts(self, type: str) -> bool:
        """Whether events of the type are posted there."""
        return self.enabled_events == ALL_EVENTS or type in self.enabled_events


def sign(payload: str, secret: str, timestamp: int) -> str:
    """The `Stripe-Signature` header. Stripe: "Verify webhook signatures manually"."""
    signed = f"{timestamp}.{payload}".encode()
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class WebhookDeliverer:
    """Delivers the pending events of the ledger in the background."""

    def __init__(
        self,
        ledger: Ledger,
        destination: WebhookDestination | None,
        retry_delays: tuple[float, ...],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.destination = destination
        self._ledger = ledger
        self._retry_delays = retry_delays
        self._transport = transport
        self._woken = asyncio.Event()
        self._running: set[str] = set()
        self._turns = itertools.count()

    def wake(self) -> None:
        """Check for new deliveries now."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is not acknowledged by then stays pending."""
        while self.destination is None:
            self._woken.clear()
            await self._woken.wait()
        async with (
            httpx.AsyncClient(
                timeout=TIMEOUT_SECONDS, transport=self._transport, trust_env=False
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                self._woken.clear()
                pause = self._start_due(client, tasks)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._woken.wait()

    def _start_due(self, client: httpx.AsyncClient, tasks: asyncio.TaskGroup) -> float | None:
        """Start what is due; the seconds until the next delivery, or None for no time known."""
        destination = self.destination
        if destination is None:
            return None
        now = time.time()
        for delivery in self._ledger.deliveries():
            if delivery.event in self._running:
                continue
            if delivery.due > now:
                return delivery.due - now
            if len(self._running) == MAX_CONCURRENT_DELIVERIES:
                return None
            self._running.add(delivery.event)
            tasks.create_task(self._deliver(client, destination, delivery))
        return None

    async def _deliver(
        self, client: httpx.AsyncClient, destination: WebhookDestination, delivery: Delivery
    ) -> None:
        try:
            event = self._ledger.find("event", delivery.event)
            payload = json.dumps(event.body if event else {}, indent=2)
            if await self._post_to_one(client, destination, payload):
                self._mark_delivered(delivery)
            else:
                self._schedule_retry(delivery)
        finally:
            self._running.discard(delivery.event)
            self.wake()

    async def _post_to_one(
        self, client: httpx.AsyncClient, destination: WebhookDestination, payload: str
    ) -> bool:
        """Post to the URL whose turn it is, then to the others; whether one acknowledged it."""
        turn = next(self._turns) % len(destination.urls)
        for url in destination.urls[turn:] + destination.urls[:turn]:
            if await _post(client, url, destination.secret, payload):
                return True
        return False

    def _mark_delivered(self, delivery: Delivery) -> None:
        with self._ledger.transaction():
            self._ledger.remove_delivery(delivery.event)
            event = self._ledger.find("event", delivery.event)
            if event is not None:
                event.body["pending_webhooks"] = 0
                self._ledger.update(event)

    def _schedule_retry(self, delivery: Delivery) -> None:
        event = self._ledger.find("event", delivery.event)
        now = time.time()
        with self._ledger.transaction():
            if event is None or event.body["created"] < now - MAX_AGE_SECONDS:
                self._ledger.remove_delivery(delivery.event)
                return
            attempt = min(delivery.failures, len(self._retry_delays) - 1)
            self._ledger.postpone_delivery(delivery.event, now + self._retry_delays[attempt])


async def _post(client: httpx.AsyncClient, url: str, secret: str, payload: str) -> bool:
    """Post it; whether the endpoint answered 2xx. A redirect is a failure, as at Stripe."""
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": sign(payload, secret, int(time.time())),
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    }
    try:
        response = await client.post(url, content=payload, headers=headers)
    except Exception as error:  # an in-process endpoint may raise anything: that is its 500
        logger.info("webhook not delivered: %r", error)
        return False
    if not response.is_success:
        logger.info("webhook answered with %d", response.status_code)
    return response.is_success
