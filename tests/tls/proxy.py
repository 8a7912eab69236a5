"""TLS in front of a server that speaks none, as Temporal Cloud has it in front of its own."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from devstack.ports import LOOPBACK
from tests.tls.certificates import Signed

CHUNK = 65536


class TlsProxy:
    """Passes on what it decrypts, and keeps what clients have said."""

    def __init__(self, behind: int, server: Signed, client_authority: Path | None) -> None:
        self._behind = behind
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(server.certificate, server.key)
        self._context.set_alpn_protocols(["h2"])
        if client_authority:
            self._context.load_verify_locations(client_authority)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self.heard = bytearray()
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connect, LOOPBACK, 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(LOOPBACK, self._behind)
        with suppress(asyncio.CancelledError):  # the test is over
            await asyncio.gather(
                self._pass_on(reader, behind_writer, self.heard),
                self._pass_on(behind_reader, writer, bytearray()),
            )

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                heard += data
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one side is gone; the other one is told by the end of its stream
        finally:
            writer.close()


@contextmanager
def tls_before(
    port: int, server: Signed, client_authority: Path | None = None
) -> Iterator[TlsProxy]:
    """A proxy on a port of its own, in a thread of its own, while the block runs."""
    proxy = TlsProxy(port, server, client_authority)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(proxy.serve(), loop).result()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_stop(listening), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(listening: asyncio.Server) -> None:
    listening.close()
    connections = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
