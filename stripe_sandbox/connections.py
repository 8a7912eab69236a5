"""Connections that are dropped without an answer."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRANSPORT = "stripe_sandbox.transport"
"""Where the ASGI scope carries the connection's asyncio transport."""


def transport_of(send: Send) -> object | None:
    """The asyncio transport that uvicorn's `send` writes to."""
    return getattr(getattr(send, "__self__", None), "transport", None)


class DroppedConnection(Response):
    """Aborts the connection instead of answering, as a network failure would."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the connection.

        Raises:
            ConnectionAbortedError: there is no connection, as under an in-process client.
        """
        abort = getattr(scope.get(TRANSPORT), "abort", None)
        if abort is None:
            raise ConnectionAbortedError("the connection was dropped by a fault")
        abort()
        # uvicorn answers 500 for an app that returns before it has seen the disconnect.
        while (await receive())["type"] != "http.disconnect":
            pass
