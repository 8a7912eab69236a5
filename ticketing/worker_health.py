"""Whether this machine's worker polls for work: `python -m ticketing.worker_health`.

Run beside the worker, in its container, with its environment.
A worker listens on no port, so Temporal is asked who has been polling the task queue.
"""

import socket
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from ticketing.commands import CommandFailed, run_command
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


async def check_worker() -> str:
    """Name this host's workers that poll.

    Raises:
        CommandFailed: there is none, or Temporal cannot be asked.
    """
    try:
        settings = read_worker_settings()
        client = await connect_temporal(settings.temporal)
        workers = await polling_workers(client, settings.task_queue)
    except (SettingsError, RuntimeError, RPCError) as error:
        raise CommandFailed(f"worker not checked: {error}") from error
    host = socket.gethostname()
    here = [identity for identity in workers if identity.endswith(f"@{host}")]
    if not here:
        raise CommandFailed(f"no worker on {host} has polled {settings.task_queue} lately")
    return f"polling {settings.task_queue}: {', '.join(here)}"


if __name__ == "__main__":
    run_command(check_worker())
