"""The idempotency keys of an order's requests to Stripe: derived here, and recognised here."""

import re
from typing import Final, Literal, get_args

PaymentStep = Literal["authorize", "capture", "cancel"]

PAYMENT_KEY: Final = re.compile(
    rf"order:([0-9a-f]{{24}}):attempt:[0-9]+:(?:{'|'.join(get_args(PaymentStep))})(?::[0-9]+)?"
)


def idempotency_key(order_id: str, attempt: int, step: PaymentStep) -> str:
    """Derive the key of a step. One per attempt, or a second card meets the first's answer."""
    return f"order:{order_id}:attempt:{attempt}:{step}"


def nth_key(first: str, number: int) -> str:
    """The key that a request is sent under when those before it are spent; 1 is the first."""
    return first if number == 1 else f"{first}:{number}"


def is_payment_key(key: str, order_id: str) -> bool:
    """Whether a step of the order's payment is requested under this key."""
    found = PAYMENT_KEY.fullmatch(key)
    return found is not None and found[1] == order_id
