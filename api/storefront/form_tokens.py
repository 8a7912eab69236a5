"""Tokens in forms: whoever sends one has been shown the form by us.

A form of somebody who is signed in carries a token of their session. A form for signing in or up
carries one of a cookie that is set with it, so that no other site can sign a browser in. Both are
signed, as OWASP's "Signed Double-Submit Cookie" describes; the `Origin` is checked besides.
"""

import hashlib
import hmac

from api.users.sessions import SignedInUser
from ticketing.settings import SessionSettings

FIELD = "csrf_token"
"""The hidden field's name."""

PURPOSE = b"holdfast: tokens in forms"
"""Keeps these signatures apart from those of the sessions, whose keys they are made with."""


class FormTokens:
    """Makes tokens with the newest key, and takes those of every key still listed."""

    def __init__(self, settings: SessionSettings) -> None:
        keys = (key.get_secret_value().encode() for key in settings.jwt_keys)
        self._keys = [hmac.digest(key, PURPOSE, "sha256") for key in keys]

    def of_session(self, user: SignedInUser) -> str:
        """The token of every form that the session is shown."""
        return _sign(self._keys[0], _session(user))

    def of_visit(self, visit: str) -> str:
        """The token of the forms for signing in and up, shown with this cookie."""
        return _sign(self._keys[0], _visit(visit))

    def is_of_session(self, token: str, user: SignedInUser) -> bool:
        return self._is_signed(token, _session(user))

    def is_of_visit(self, token: str, visit: str) -> bool:
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
