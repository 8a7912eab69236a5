"""Composition root of the worker: connect, build the activities, run workflows."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import (
    PollerBehaviorAutoscaling,
    Worker,
    WorkerDeploymentConfig,
    WorkflowInstance,
    WorkflowInstanceDetails,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import build_activities
from activities.reconciliation.gauges import Gauges
from ticketing.event_loops import run
from ticketing.garbage import tune_gc_after_startup
from ticketing.heartbeats import HeartbeatInterceptor
from ticketing.mongodb import BSONDocument, connect_mongodb
from ticketing.observability.logs import configure_logging
from ticketing.observability.telemetry import Telemetry, start_telemetry
from ticketing.observability.tracing import WORKER_SERVICE_NAME
from ticketing.open_files import raise_open_files_limit
from ticketing.payments.gateway import MAX_CONNECTIONS, StripeGateway
from ticketing.settings import SettingsError, WorkerSettings, read_worker_settings
from ticketing.temporal import connect_temporal
from ticketing.worker_versions import log_version_status
from workflows import WORKFLOWS
from workflows.reconciliation_schedules import schedule_reconciliation

GRACEFUL_SHUTDOWN = timedelta(seconds=20)
"""How long activities in flight may take to finish; another worker runs the rest."""

STICKY_TIMEOUT = timedelta(seconds=20)
"""How long a task waits for the worker that has its order in the cache, before any may take it.

Twice Temporal's default: a worker that has fallen behind would otherwise get more work, since it
has to replay the history of each order that it was too late for. After a worker's death, its
orders wait that long.
"""

MAX_CACHED_ORDERS = 2_500
"""How many open orders a worker caches, at some 125 KB each; any other is replayed when needed."""

MAX_ACTIVITIES = MAX_CONNECTIONS
"""How many steps at Stripe a worker has under way. They mostly wait for its answers, and those
that wait for a slow bank must keep no other buyer from paying.
"""

MAX_WORKFLOW_TASKS = 32
"""How many workflow tasks, with their steps in MongoDB, a worker does at once.

They share its processor. On a slow machine it does some 20 a second, so that the SDK's default of
100 may take the five seconds that each of them has. Those not taken wait at Temporal without a
limit, for any worker.
"""

RESERVED_FILES = 200
"""Open files for everything but connections to Stripe."""

logger = logging.getLogger("holdfast.worker")


class ContextFreeSandbox(SandboxedWorkflowRunner):
    """The SDK's sandbox, for a converter that converts every payload alike.

    The SDK asks a workflow, for each payload, where the payload belongs, in case a converter wants
    to know. It compiles code for that inside the sandbox: a seventh of the worker's Python, with
    temporalio 1.35. Ours does not want to know (`ticketing/payloads.py`).
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """An instance that answers at once: nowhere in particular."""
        instance = super().create_instance(det)
        instance.get_serialization_context = lambda _: None  # type: ignore[method-assign, assignment] # the class is private
        return instance


def workflow_runner() -> SandboxedWorkflowRunner:
    """The sandbox, passing all modules through.

    It still guards the clock, randomness and I/O, without importing everything anew for each
    workflow.
    """
    return ContextFreeSandbox(
        restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
    )


def create_worker(
    client: Client,
    *,
    task_queue: str,
    mongo: AsyncMongoClient[BSONDocument],
    gateway: StripeGateway,
    workflows: Sequence[type] = WORKFLOWS,
    version: WorkerDeploymentVersion | None = None,
) -> Worker:
    """Build a worker for every activity and, unless others are given, every workflow.

    With a version it is given only what Temporal means for that version
    (docs/adr/0019-worker-versions.md).
    """
    return Worker(
        client,
        task_queue=task_queue,
        workflows=workflows,
        activities=build_activities(mongo, gateway, client),
        workflow_runner=workflow_runner(),
        interceptors=[HeartbeatInterceptor()],
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
        max_concurrent_workflow_tasks=MAX_WORKFLOW_TASKS,
        max_concurrent_activities=MAX_ACTIVITIES,
        max_cached_workflows=MAX_CACHED_ORDERS,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        deployment_config=_pinned_deployment(version) if version else None,
    )


def _pinned_deployment(version: WorkerDeploymentVersion) -> WorkerDeploymentConfig:
    # Not on the workflows themselves: a server refuses what an unversioned worker says of it.
    return WorkerDeploymentConfig(
        version=version,
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def run_worker(settings: WorkerSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    telemetry = start_telemetry(settings.metrics, settings.tracing, WORKER_SERVICE_NAME)
    mongo = await connect_mongodb(settings.mongodb, telemetry.mongodb_listeners())
    raise_open_files_limit(MAX_CONNECTIONS + RESERVED_FILES)
    gateway = StripeGateway(settings.stripe, telemetry.meter, telemetry.tracer)
    try:
        client = await connect_temporal(
            settings.temporal,
            runtime=telemetry.runtime,
            interceptors=telemetry.interceptors(),
        )
        version = settings.versioning.version
        worker = create_worker(
            client,
            task_queue=settings.task_queue,
            mongo=mongo,
            gateway=gateway,
            version=version,
        )
        telling = _logging_version_status(client, version)
        tune_gc_after_startup()
        async with worker, _measuring(telemetry), telling:
            await _schedule_reconciliation(client, settings.task_queue)
            logger.info("carrying out orders of task queue %s", settings.task_queue)
            await stop.wait()
    finally:
        await gateway.close()
        await mongo.close()
        await telemetry.stop()


@asynccontextmanager
async def _logging_version_status(
    client: Client, version: WorkerDeploymentVersion | None
) -> AsyncIterator[None]:
    telling = version and asyncio.create_task(log_version_status(client, version))
    yield
    if telling:
        telling.cancel()


@asynccontextmanager
async def _measuring(telemetry: Telemetry) -> AsyncIterator[None]:
    """Measure the gauges while the block runs, if metrics are on."""
    if not telemetry.is_scraped:
        yield
        return
    task = asyncio.create_task(Gauges(telemetry.meter).measure_forever())
    try:
        yield
    finally:
        task.cancel()


async def _schedule_reconciliation(client: Client, task_queue: str) -> None:
    try:
        await schedule_reconciliation(client, task_queue)
    except RPCError as error:
        # Orders come first: they can be carried out without being checked.
        logger.error("nothing will be reconciled until a worker can schedule it: %s", error)


def main() -> None:
    """Run the worker with the settings of the environment."""
    try:
        settings = read_worker_settings()
    except SettingsError as error:
        print(f"holdfast worker: {error}", file=sys.stderr)  # noqa: T201 - nothing logs yet
        sys.exit(2)
    configure_logging(settings.log)
    try:
        run(run_worker(settings))
    except (PyMongoError, RuntimeError) as error:
        logger.critical("cannot start: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
