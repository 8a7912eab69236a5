"""Ids and secrets, spelled as Stripe's."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """A fresh id such as `pi_` and 24 letters and digits."""
    return f"{prefix}_{_random(24)}"


def new_client_secret(payment_intent_id: str) -> str:
    """A secret that lets a buyer's browser act on one payment intent."""
    return f"{payment_intent_id}_secret_{_random(25)}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
