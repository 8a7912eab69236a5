"""CSRF tokens: a form with a valid token was shown by us.

A signed-in user's form has a token for the session. A form for signing in or up has a token for a
cookie that is set with it, so that no other site can sign a browser in. Both are signed as in
OWASP's "Signed Double-Submit Cookie"; the `Origin` is checked in addition.
"""

import hashlib
import hmac

from api.users.sessions import SignedInUser
from ticketing.settings import SessionSettings

CSRF_FIELD = "csrf_token"
"""The name of the hidden field."""

PURPOSE = b"holdfast: tokens in forms"
"""Separates these signatures from those of the sessions, which use the same keys."""


class FormTokens:
    """Makes tokens with the newest key and accepts those of every configured key."""

    def __init__(self, settings: SessionSettings) -> None:
        keys = (key.get_secret_value().encode() for key in settings.jwt_keys)
        self._keys = [hmac.digest(key, PURPOSE, "sha256") for key in keys]

    def for_session(self, user: SignedInUser) -> str:
        """The token of all forms in this session."""
        return _sign(self._keys[0], _session(user))

    def for_visit(self, visit: str) -> str:
        """The token of the forms for signing in and up, for this cookie value."""
        return _sign(self._keys[0], _visit(visit))

    def is_for_session(self, token: str, user: SignedInUser) -> bool:
        return self._is_signed(token, _session(user))

    def is_for_visit(self, token: str, visit: str) -> bool:
        return self._is_signed(token, _visit(visit))

    def _is_signed(self, token: str, shown_to: str) -> bool:
        signatures = (_sign(key, shown_to) for key in self._keys)
        return any(hmac.compare_digest(s.encode(), token.encode()) for s in signatures)


def _session(user: SignedInUser) -> str:
    return f"session {user.token_id}"


def _visit(visit: str) -> str:
    return f"visit {visit}"


def _sign(key: bytes, shown_to: str) -> str:
    return hmac.new(key, shown_to.encode(), hashlib.sha256).hexdigest()
