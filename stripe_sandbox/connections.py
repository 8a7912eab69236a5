"""Connections that break: an answer that is never sent."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRANSPORT = "stripe_sandbox.transport"
"""Where the ASGI scope carries the connection's asyncio transport."""


def transport_behind(send: Send) -> object | None:
    """The transport that uvicorn's own `send` writes to."""
    return getattr(getattr(send, "__self__", None), "transport", None)


class DroppedConnection(Response):
    """Not an answer: the connection is aborted, as when a cable is pulled."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the connection.

        Raises:
            ConnectionAbortedError: there is no connection, as under an in-process client.
        """
        abort = getattr(scope.get(TRANSPORT), "abort", None)
        if abort is None:
            raise ConnectionAbortedError("the answer was lost on purpose")
        abort()
        # uvicorn answers 500 for an app that returns before it has seen the disconnect.
        while (await receive())["type"] != "http.disconnect":
            pass
