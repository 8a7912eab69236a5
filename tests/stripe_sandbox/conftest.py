"""Stripe's official client of the test's own sandbox."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stripe_sandbox.testing import RunningSandbox, stripe_client


@pytest.fixture
async def client(sandbox: RunningSandbox) -> AsyncIterator[Any]:
    async with stripe_client(sandbox.url) as client:
        yield client.v1
