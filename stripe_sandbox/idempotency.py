"""Idempotency keys. Stripe: "Idempotent requests".

The answer is stored in the transaction of its effect: a crash leaves both or neither, and a
retry with the same key gets the first answer.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stripe_sandbox.calls import Call
from stripe_sandbox.errors import IdempotencyMismatch, InvalidParameter, Json, KeyInUse
from stripe_sandbox.ledger import StoredAnswer

MAX_KEY_LENGTH = 255
LIFETIME_SECONDS = 24 * 60 * 60
"""Stripe removes keys once they are at least this old."""


class RunningKeys:
    """The keys whose first request has not been answered yet."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    @contextmanager
    def claim(self, key: str | None) -> Iterator[None]:
        """Hold the key while its request runs.

        Raises:
            KeyInUse: another request holds it (409).
            InvalidParameter: it is too long.
        """
        if key is None:
            yield
            return
        if len(key) > MAX_KEY_LENGTH:
            raise InvalidParameter(
                f"Idempotency keys may have at most {MAX_KEY_LENGTH} characters."
            )
        if key in self._keys:
            raise KeyInUse(
                "There is currently another in-progress request using this Stripe-Idempotency-Key "
                "(that probably means you submitted twice, and the other request is still going "
                f"through): {key}."
            )
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)


def find_answer(call: Call, fingerprint: str) -> StoredAnswer | None:
    """The first answer to this call's key, if it has had one.

    Raises:
        IdempotencyMismatch: the key was used with other parameters or for another path.
    """
    key = call.idempotency_key
    answer = call.ledger.find_answer(key) if key is not None else None
    if answer is None or answer.created < time.time() - LIFETIME_SECONDS:
        return None
    if answer.fingerprint != fingerprint:
        raise IdempotencyMismatch(
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request."
        )
    return answer


def store_answer(call: Call, fingerprint: str, status: int, body: Json) -> None:
    """Store the answer under the call's key, in the transaction of its effect."""
    if call.idempotency_key is not None and call.request_id is not None:
        answer = StoredAnswer(fingerprint, status, body, call.request_id, time.time())
        call.ledger.store_answer(call.idempotency_key, answer)


def fingerprint(method: str, path: str, form: Json) -> str:
    """A hash of what has to be the same for a request to be the same.

    It takes the last four digits of a card's number and leaves out its security code: those
    could be found by trying all hashes.
    """
    card = form.get("card")
    if isinstance(card, dict):
        number = str(card.get("number", ""))
        form = form | {"card": card | {"number": number[-4:], "cvc": None}}
    canonical = json.dumps([method, path, form], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
