"""A TCP line to a server that a test can cut, as an outage would, and mend again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from devstack.ports import LOOPBACK


class Line:
    """Passes bytes on between its own port and the server's."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    async def mend(self) -> None:
        """Take connections, from now on."""
        self._listener = await asyncio.start_server(self._connect, LOOPBACK, self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End every connection and refuse new ones."""
        if self._listener is not None:
            self._listener.close()
        connections = [*self._connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            there = await asyncio.open_connection(LOOPBACK, self._server_port)
            try:
                with suppress(ConnectionError):
                    async with asyncio.TaskGroup() as pumps:
                        pumps.create_task(_pump(reader, there[1]))
                        pumps.create_task(_pump(there[0], writer))
            finally:
                there[1].transport.abort()
        except (asyncio.CancelledError, ExceptionGroup):
            pass  # the line is cut, or one of its ends has hung up
        finally:
            writer.transport.abort()
            self._connections.discard(task)


@asynccontextmanager
async def line_to(address: str) -> AsyncIterator[Line]:
    """A line to the server at `host:port` for as long as the block runs."""
    line = Line(int(address.rpartition(":")[2]))
    await line.mend()
    try:
        yield line
    finally:
        await line.cut()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(64 * 1024):
        writer.write(received)
        await writer.drain()
    raise ConnectionResetError("the other end has hung up")
