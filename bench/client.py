"""An HTTP client with little CPU use, which would otherwise distort the measurements."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

NO_ANSWER_ERRORS = (ClientError, OSError, TimeoutError)
"""The exceptions that mean that no answer came."""

TIMEOUT = ClientTimeout(total=120)


@dataclass(frozen=True)
class Answer:
    """The status and the body of an answer."""

    status: int
    content: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.content)


class HttpClient:
    """Keeps its connections open, as a browser does."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Send a GET request."""
        async with self._session.get(path, params=params) as response:
            return Answer(response.status, await response.read())

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send a POST request with a JSON body."""
        async with self._session.post(path, json=body) as response:
            return Answer(response.status, await response.read())


@asynccontextmanager
async def http_client(
    url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[HttpClient]:
    """A client of the server at the URL, open during the block."""
    connector = TCPConnector(limit=0)
    async with ClientSession(url, headers=headers, timeout=TIMEOUT, connector=connector) as session:
        yield HttpClient(session)
