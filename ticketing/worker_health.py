"""Whether this machine's worker polls for work: `python -m ticketing.worker_health`.

Run beside the worker, in its container, with its environment.
A worker listens on no port, so Temporal is asked who has been polling the task queue.
"""

import asyncio
import socket
import sys
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from ticketing.settings import SettingsError, read_worker_settings
from ticketing.temporal import connect_temporal

LONGEST_SILENCE = timedelta(seconds=90)
"""A worker asks again after at most a minute, which is how long the server holds a poll."""


async def polling_workers(client: Client, task_queue: str) -> list[str]:
    """Identities (`pid@host`) of the workers that have polled the queue lately."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    latest = datetime.now(UTC) - LONGEST_SILENCE
    return [
        poller.identity
        for poller in answer.pollers
        if poller.last_access_time.ToDatetime(tzinfo=UTC) > latest
    ]


async def main() -> None:
    """Exit with 0 if a worker on this host polls, and otherwise say why not."""
    try:
        settings = read_worker_settings()
        client = await connect_temporal(settings.temporal)
        workers = await polling_workers(client, settings.task_queue)
    except (SettingsError, RuntimeError, RPCError) as error:
        sys.exit(f"worker not checked: {error}")
    host = socket.gethostname()
    if not any(identity.endswith(f"@{host}") for identity in workers):
        sys.exit(f"no worker on {host} has polled {settings.task_queue} lately")


if __name__ == "__main__":
    asyncio.run(main())
