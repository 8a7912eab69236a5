"""Temporal's test server, which skips the time that a test sleeps on it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from workflows.search_attributes import SEARCH_ATTRIBUTES

TEST_SERVER = Path(sys.executable).with_name("temporal-test-server")


@asynccontextmanager
async def time_skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """A server of one's own that knows the search attributes of orders."""
    async with await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter,
        test_server_existing_path=str(TEST_SERVER),
    ) as env:
        # This server implements only the half of the operator service that adds.
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=env.client.namespace,
                search_attributes={
                    key.name: int(key.indexed_value_type)  # type: ignore[misc] # an open enum
                    for key in SEARCH_ATTRIBUTES
                },
            )
        )
        yield env
