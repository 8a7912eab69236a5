"""An HTTP client that takes little of the machine: what it takes, the system does not get."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

Unanswered = (ClientError, OSError, TimeoutError)
"""What is raised where no answer came."""

TIMEOUT = ClientTimeout(total=120)


@dataclass(frozen=True)
class Answer:
    """A status and what came with it."""

    status: int
    content: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever the server says
        return json.loads(self.content)


class HttpClient:
    """Keeps its connections, as a browser does."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Ask for what is there."""
        async with self._session.get(path, params=params) as response:
            return Answer(response.status, await response.read())

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send JSON."""
        async with self._session.post(path, json=body) as response:
            return Answer(response.status, await response.read())


@asynccontextmanager
async def http_client(
    url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[HttpClient]:
    """A client of the server there, for as long as the block runs."""
    connector = TCPConnector(limit=0)
    async with ClientSession(url, headers=headers, timeout=TIMEOUT, connector=connector) as session:
        yield HttpClient(session)
