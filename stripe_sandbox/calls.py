"""The request that an operation serves, and how it records events."""

import time
from dataclasses import dataclass

from stripe_sandbox.config import API_VERSION
from stripe_sandbox.errors import Json, ResourceMissing
from stripe_sandbox.forms import Form
from stripe_sandbox.ids import new_id
from stripe_sandbox.ledger import Ledger, StoredObject
from stripe_sandbox.webhooks import WebhookDestination


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, with what its operation needs."""

    ledger: Ledger
    form: Form
    base_url: str
    """Where the buyer's browser reaches this sandbox, without a trailing slash."""
    request_id: str | None = None
    """None for the buyer's decision on the bank's page, which is no API request."""
    idempotency_key: str | None = None
    destination: WebhookDestination | None = None
    """Who receives webhooks."""
    publishable: bool = False
    """Whether it carries a publishable key, which sees fewer fields."""

    @property
    def now(self) -> int:
        """Seconds since the epoch."""
        return int(time.time())

    def get(self, kind: str, id: str, *, param: str) -> StoredObject:
        """The object of that kind and id.

        Raises:
            ResourceMissing: there is none; `param` names the parameter that said so.
        """
        stored = self.ledger.find(kind, id)
        if stored is None:
            # Stripe says PaymentMethod but payment_intent.
            name = "PaymentMethod" if kind == "payment_method" else kind
            raise ResourceMissing(name, id, param=param)
        return stored

    def emit(self, type: str, body: Json) -> None:
        """Record an event about an object as it is now, and queue it for the webhook.

        Both are part of the transaction that makes the change, so none is without the other.
        """
        is_wanted = self.destination is not None and self.destination.accepts(type)
        event: Json = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": {"object": body},
            "livemode": False,
            "pending_webhooks": int(is_wanted),
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": type,
        }
        self.ledger.insert(event)
        if is_wanted:
            self.ledger.add_delivery(event["id"])
