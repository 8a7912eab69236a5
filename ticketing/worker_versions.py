"""Whether this build of the workers gets new orders, and what to do if no build does."""

import asyncio
import logging
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError

logger = logging.getLogger(__name__)

CHECK_INTERVAL = timedelta(seconds=30)


async def log_version_status(client: Client, version: WorkerDeploymentVersion) -> None:
    """Log whether the version gets new orders; warn for as long as no version does."""
    logged = ""
    while True:
        try:
            status_line, is_trouble = await version_status(client, version)
        except RPCError as error:
            status_line, is_trouble = f"cannot tell which build is current: {error.message}", False
        if is_trouble:
            logger.warning(status_line)
        elif status_line != logged:
            logger.info(status_line)
        logged = status_line
        await asyncio.sleep(CHECK_INTERVAL.total_seconds())


async def version_status(client: Client, version: WorkerDeploymentVersion) -> tuple[str, bool]:
    """The role of the version in its deployment, and whether an operator has to act.

    Raises:
        RPCError: Temporal does not answer; NOT_FOUND until the first worker has polled.
    """
    name, build = version.deployment_name, version.build_id
    answer = await client.workflow_service.describe_worker_deployment(
        DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=name)
    )
    routing = answer.worker_deployment_info.routing_config
    current = routing.current_deployment_version.build_id
    ramping = routing.ramping_deployment_version.build_id
    if current == build:
        return f"build {build} of {name} is current: it gets all new orders", False
    if ramping == build:
        percentage = routing.ramping_version_percentage
        return f"build {build} of {name} is ramping: it gets {percentage:g} % of new orders", False
    if current:
        return f"build {build} of {name} gets no new orders: build {current} is current", False
    return (
        f"no build of {name} is current, so new orders go to unversioned workers only, if there"
        " are any. To have this build get them: temporal worker deployment set-current-version"
        f" --deployment-name {name} --build-id {build}",
        True,
    )
