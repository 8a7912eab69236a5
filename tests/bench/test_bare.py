"""The bare purchase, which every ratio is relative to, stays what it is."""

import subprocess
import sys

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench.bare import BareBuyer, bare_worker, bare_workflow_id
from devstack.process import REPOSITORY

EVENTS = [
    "WORKFLOW_EXECUTION_STARTED",
    "WORKFLOW_TASK_SCHEDULED",
    "WORKFLOW_TASK_STARTED",
    "WORKFLOW_TASK_COMPLETED",
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
    "MARKER_RECORDED",
    "TIMER_STARTED",
    "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
    "WORKFLOW_EXECUTION_SIGNALED",
    "WORKFLOW_TASK_SCHEDULED",
    "WORKFLOW_TASK_STARTED",
    "WORKFLOW_TASK_COMPLETED",
    "TIMER_CANCELED",
    "MARKER_RECORDED",
    "WORKFLOW_EXECUTION_COMPLETED",
]

IMPORTED_OF_THE_PRODUCT = """
import sys
import bench.bare
print(*{name.split(".")[0] for name in sys.modules} & {"api", "workflows", "activities", "worker"})
"""


async def test_a_bare_purchase_has_15_events_and_two_workflow_tasks(temporal_address: str) -> None:
    client = await Client.connect(temporal_address)
    async with bare_worker(client):
        await BareBuyer(client).buy("order")
    history = await client.get_workflow_handle(bare_workflow_id("order")).fetch_history()
    types = [EventType.Name(event.event_type) for event in history.events]
    assert [name.removeprefix("EVENT_TYPE_") for name in types] == EVENTS
    assert len(EVENTS) == 15
    assert EVENTS.count("WORKFLOW_TASK_COMPLETED") == 2


def test_the_bare_purchase_imports_nothing_of_the_product() -> None:
    found = subprocess.run(
        [sys.executable, "-c", IMPORTED_OF_THE_PRODUCT],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == []
