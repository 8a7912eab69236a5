"""API keys: every test key is accepted, a live key never. Stripe: "Authentication"."""

import base64
import binascii
from enum import Enum

from starlette.datastructures import Headers

from stripe_sandbox.errors import Forbidden, Unauthenticated

_MISSING = (
    "You did not provide an API key. You need to provide your API key in the Authorization "
    "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
    "https://stripe.com/docs/api#authentication for details, or we can help at "
    "https://support.stripe.com/."
)
_PUBLISHABLE = (
    "This API call cannot be made with a publishable API key. Please use a secret API key. You "
    "can find a list of your API keys at https://dashboard.stripe.com/account/apikeys."
)


class KeyKind(Enum):
    """Whether a key is secret or publishable."""

    SECRET = "secret"  # noqa: S105 - a kind, not a key
    PUBLISHABLE = "publishable"


def key_kind(headers: Headers) -> KeyKind:
    """The kind of key that the request carries, as Bearer or as Basic user name.

    Raises:
        Unauthenticated: there is none, or it is not a test key.
    """
    key = _api_key(headers.get("authorization", ""))
    if key is None:
        raise Unauthenticated(_MISSING)
    for prefix, kind in (
        ("sk_test_", KeyKind.SECRET),
        ("rk_test_", KeyKind.SECRET),
        ("pk_test_", KeyKind.PUBLISHABLE),
    ):
        if key.startswith(prefix) and len(key) > len(prefix):
            return kind
    raise Unauthenticated(f"Invalid API Key provided: {_masked(key)}")


def require_secret(kind: KeyKind) -> None:
    """Refuse a publishable key.

    Raises:
        Forbidden: it is one.
    """
    if kind is KeyKind.PUBLISHABLE:
        raise Forbidden(_PUBLISHABLE)


def _api_key(authorization: str) -> str | None:
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return decoded.partition(":")[0] or None
    return None


def _masked(key: str) -> str:
    return f"{key[:8]}****" if len(key) > 12 else "****"
