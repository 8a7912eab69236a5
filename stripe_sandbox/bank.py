"""The bank's page, where a buyer approves or declines a payment."""

import hmac
from collections.abc import Callable

from stripe_sandbox import attempts, refunds
from stripe_sandbox.calls import Call
from stripe_sandbox.errors import CardDeclined, Json
from stripe_sandbox.ledger import Ledger, StoredObject
from stripe_sandbox.return_urls import is_loopback, with_query

_OUTCOMES = {
    "requires_capture": (
        "Payment approved",
        "The amount is reserved on your card. You can close this page.",
    ),
    "succeeded": ("Payment approved", "The payment is complete. You can close this page."),
    "canceled": (
        "Payment cancelled",
        "The merchant cancelled this payment before you answered. You have not been charged.",
    ),
    "requires_confirmation": (
        "Nothing to approve",
        "This payment has not been sent to the bank. You have not been charged.",
    ),
}
_DECLINED = (
    "Payment declined",
    "You have not been charged. You can go back and pay with another card.",
)


class Bank:
    """Finds payments by client secret, applies the buyer's decision, settles refunds."""

    def __init__(self, ledger: Ledger, call: Callable[[], Call]) -> None:
        self._ledger = ledger
        self._call = call

    def find(self, client_secret: str) -> StoredObject | None:
        """The payment intent with this client secret, if there is one."""
        id = client_secret.partition("_secret_")[0]
        intent = self._ledger.find("payment_intent", id)
        if intent is None:
            return None
        right = intent.body["client_secret"].encode()
        return intent if hmac.compare_digest(right, client_secret.encode()) else None

    def decide(self, payment_intent_id: str, *, approve: bool) -> bool:
        """Apply the buyer's decision; False if the payment is not waiting for one.

        The check and the change are one transaction, so of a decision and a cancel at the same
        moment exactly one happens.
        """
        with self._ledger.transaction():
            intent = self._ledger.find("payment_intent", payment_intent_id)
            if intent is None or intent.body["status"] != "requires_action":
                return False
            try:
                attempts.finish_authentication(self._call(), intent, approve=approve)
            except CardDeclined:
                return True  # approved, then declined by the bank, which is recorded
        return True

    def settle_refund(self, refund_id: str, *, succeeds: bool) -> bool:
        """Settle a refund; False if there is none, or it has failed before."""
        with self._ledger.transaction():
            refund = self._ledger.find("refund", refund_id)
            if refund is None or refund.body["status"] == "failed":
                return False
            refunds.settle(self._call(), refund, succeeds=succeeds)
        return True


def outcome_message(intent: Json) -> tuple[str, str]:
    """A heading and a sentence about the payment's current status."""
    return _OUTCOMES.get(intent["status"], _DECLINED)


def return_url(intent: StoredObject, requested: str | None) -> str | None:
    """Where the buyer is sent back to: the URL of the confirmation, or a requested loopback URL."""
    confirmed = intent.hidden.get("return_url")
    url = confirmed if requested is None else requested
    if url is None or not (url == confirmed or is_loopback(url)):
        return None
    succeeded = intent.body["status"] in {"succeeded", "requires_capture"}
    result = {
        "payment_intent": intent.id,
        "payment_intent_client_secret": intent.body["client_secret"],
        "redirect_status": "succeeded" if succeeded else "failed",
    }
    return with_query(url, result)
