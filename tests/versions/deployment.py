"""Temporal's CLI, as an operator uses it, and what Temporal says of orders and builds."""

import shlex
import subprocess

from temporalio import common
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentVersionRequest
from temporalio.client import Client

from devstack.stack import Stack
from devstack.temporal import find_temporal, run_in_thread
from ticketing.worker_versions import version_status

DEPLOYMENT = "holdfast"


def temporal(stack: Stack, command: str) -> str:
    """Run `temporal …` against the stack, and answer yes to whatever it asks; what it prints."""
    program, *arguments = shlex.split(command)
    assert program == "temporal"
    result = subprocess.run(
        [str(find_temporal()), *arguments, "--address", stack.settings.temporal_address],
        input="y\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def make_current(stack: Stack, build: str) -> None:
    temporal(
        stack,
        "temporal worker deployment set-current-version"
        f" --deployment-name {DEPLOYMENT} --build-id {build}",
    )


def make_none_current(stack: Stack) -> None:
    """As it is before the first build was made current."""
    temporal(
        stack,
        "temporal worker deployment set-current-version"
        f" --deployment-name {DEPLOYMENT} --unversioned --allow-no-pollers"
        " --ignore-missing-task-queues",
    )


def builds_of(stack: Stack, order_id: str) -> set[str]:
    """The builds that have done any of the order's tasks; an empty one for unversioned workers."""
    return run_in_thread(_builds_of(stack, order_id))


def backlog_of(stack: Stack, build: str) -> int:
    """How many tasks wait for workers of the build, as an autoscaler asks for it."""
    return run_in_thread(_backlog_of(stack, build))


def told_of(stack: Stack, build: str) -> str:
    """What a worker of the build logs about it."""
    return run_in_thread(_told_of(stack, build))


async def _told_of(stack: Stack, build: str) -> str:
    client = await Client.connect(stack.settings.temporal_address)
    told, is_trouble = await version_status(
        client, common.WorkerDeploymentVersion(DEPLOYMENT, build)
    )
    assert not is_trouble
    return told


async def _builds_of(stack: Stack, order_id: str) -> set[str]:
    client = await Client.connect(stack.settings.temporal_address)
    history = client.get_workflow_handle(f"order:{order_id}").fetch_history_events()
    return {
        event.workflow_task_completed_event_attributes.deployment_version.build_id
        async for event in history
        if event.HasField("workflow_task_completed_event_attributes")
    }


async def _backlog_of(stack: Stack, build: str) -> int:
    client = await Client.connect(stack.settings.temporal_address)
    answer = await client.workflow_service.describe_worker_deployment_version(
        DescribeWorkerDeploymentVersionRequest(
            namespace=client.namespace,
            deployment_version=WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build),
            report_task_queue_stats=True,
        )
    )
    queue = stack.environment["TASK_QUEUE"]
    return sum(
        found.stats.approximate_backlog_count
        for found in answer.version_task_queues
        if found.name == queue
    )
