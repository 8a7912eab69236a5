"""How workflows run activities, and shield their work from cancellation."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from ticketing.heartbeats import HEARTBEAT_TIMEOUT

DATABASE_TIMEOUT = timedelta(seconds=10)
LOCAL_ACTIVITY_TIMEOUT = timedelta(seconds=5)
"""How long a local activity is retried before a regular one takes over: a failover is shorter."""
DATABASE_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=5)
)
LOCAL_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=6)
"""Three seconds of pauses. A bound in time alone does not end tries that fail at once.

Measured with temporalio 1.35: with 5 s allowed, such a step still ran after 45 s.
"""

STRIPE_TIMEOUT = timedelta(seconds=20)
"""Longer than the gateway's own timeout, so that its answer is not lost."""
STRIPE_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)
)
"""Retried without end: no ticket is released while the outcome is unknown."""

A = TypeVar("A")
P = TypeVar("P")
R = TypeVar("R")


async def run_local_database_activity(
    step: Callable[[A, P], Awaitable[R]], input: P, *, summary: str
) -> R:
    """Run a short step in MongoDB whose decision no later message can change.

    Runs in place, and once more if the workflow task is lost before it is recorded. Where it
    does not succeed soon, it goes on as a regular activity, which operators see.
    """
    try:
        return await workflow.execute_local_activity_method(
            step,
            input,
            schedule_to_close_timeout=LOCAL_ACTIVITY_TIMEOUT,
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=LOCAL_RETRIES,
            summary=summary,
        )
    except FailureError:
        # When its time is over it raises an ActivityError; replayed, the TimeoutError alone.
        return await run_database_activity(step, input, summary=summary)


async def run_database_activity(
    step: Callable[[A, P], Awaitable[R]], input: P, *, summary: str
) -> R:
    """Run a step in MongoDB after the decision for it is in the history, until it is done.

    A local activity runs before that. If its workflow task fails, as it does when a message
    comes while the workflow closes, the decision is taken anew with the message in sight,
    although the step is done. Releasing a ticket rests on a decision that a payment can change.
    """
    return await workflow.execute_activity_method(
        step,
        input,
        start_to_close_timeout=DATABASE_TIMEOUT,
        retry_policy=DATABASE_RETRIES,
        summary=summary,
    )


async def run_stripe_activity(
    step: Callable[[A, P], Awaitable[R]],
    input: P,
    *,
    summary: str,
    timeout: timedelta = STRIPE_TIMEOUT,
) -> R:
    """Run a step at Stripe, repeated until Stripe has answered; operators see each try."""
    return await workflow.execute_activity_method(
        step,
        input,
        start_to_close_timeout=timeout,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=STRIPE_RETRIES,
        summary=summary,
    )


async def try_stripe_activity(
    step: Callable[[A, P], Awaitable[R]], input: P, *, summary: str
) -> R | None:
    """Try a step of two requests to Stripe once; None if it failed, and nothing is known of it."""
    try:
        return await workflow.execute_activity_method(
            step,
            input,
            start_to_close_timeout=2 * STRIPE_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=1),
            summary=summary,
        )
    except FailureError:
        return None


async def run_shielded(work: Coroutine[Any, Any, R], on_cancellation: Callable[[], None]) -> R:
    """Run a workflow's work to its end; a requested cancellation is passed on, not raised in it."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            on_cancellation()
    return task.result()
