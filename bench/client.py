"""An HTTP client with little CPU use, which would otherwise distort the measurements."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

NO_ANSWER_ERRORS = (ClientError, OSError, TimeoutError)
"""The exceptions that mean that no answer came."""

TURNED_AWAY_STATUSES = (429, 503)
"""Together with `Retry-After`: any other 503 tells of a failure."""

TIMEOUT = ClientTimeout(total=120)


@dataclass(frozen=True)
class Answer:
    """The status and the body of an answer."""

    status: int
    content: bytes
    retry_after: float | None = None
    """Seconds until the client may come again (`Retry-After`)."""

    @property
    def is_turned_away(self) -> bool:
        """Whether the client was asked to come again later."""
        return self.status in TURNED_AWAY_STATUSES and self.retry_after is not None

    @property
    def code(self) -> str | None:
        """The problem's code, where the answer tells one."""
        if self.status < 400 or not self.content.startswith(b"{"):
            return None
        code: str | None = self.json().get("code")
        return code

    @property
    def reason(self) -> str:
        """The status and the problem's code."""
        return f"{self.status} {self.code}"

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.content)


class HttpClient:
    """Keeps its connections open, as a browser does."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Send a GET request."""
        async with self._session.get(path, params=params) as response:
            return await _read(response)

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send a POST request with a JSON body."""
        async with self._session.post(path, json=body) as response:
            return await _read(response)


async def _read(response: ClientResponse) -> Answer:
    wait = response.headers.get("Retry-After")
    return Answer(response.status, await response.read(), float(wait) if wait else None)


@asynccontextmanager
async def http_client(
    url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[HttpClient]:
    """A client of the server at the URL, open during the block."""
    connector = TCPConnector(limit=0)
    async with ClientSession(url, headers=headers, timeout=TIMEOUT, connector=connector) as session:
        yield HttpClient(session)
