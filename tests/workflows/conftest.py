"""A time-skipping Temporal server, a worker and a Stripe sandbox for each test."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from temporalio.testing import WorkflowEnvironment

from stripe_sandbox.testing import RunningSandbox
from tests.market import Market
from tests.timeskipping import time_skipping_server
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from worker import create_worker
from workflows import WORKFLOWS


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server that skips time while a test sleeps on it."""
    async with time_skipping_server() as env:
        yield env


@pytest.fixture
def task_queue() -> str:
    return f"orders-{uuid4().hex}"


@pytest.fixture
def workflows() -> list[type]:
    """Which implementation the worker carries out; a control puts its own here."""
    return WORKFLOWS


@pytest.fixture
async def market(
    env: WorkflowEnvironment,
    task_queue: str,
    mongodb: AsyncMongoClient[BSONDocument],
    gateway: StripeGateway,
    sandbox: RunningSandbox,
    workflows: list[type],
) -> AsyncIterator[Market]:
    """A market with one worker, on a clock that can be skipped."""
    worker = create_worker(
        env.client, task_queue=task_queue, mongo=mongodb, gateway=gateway, workflows=workflows
    )
    async with worker:
        yield Market(env=env, task_queue=task_queue, sandbox=sandbox)
