"""`GET /api/tickets/events`: every change is heard, once and in order."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.api.conftest import list_ticket
from tests.api.event_stream import hearing, serving


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    async with serving(app) as url:
        yield url


async def test_a_listed_ticket_is_heard_as_everybody_sees_it(url: str, seller: AsyncClient) -> None:
    async with hearing(url) as stream:
        await stream.begins()
        ticket = await list_ticket(seller)
        event = await stream.next()

    assert (event.type, event.data) == ("ticket", ticket)
