"""A step that may take long shows that its worker lives, so that a dead one is noticed soon."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from ticketing.heartbeats import HeartbeatInterceptor


class Step(ActivityInboundInterceptor):
    """A step that ends when it is told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        await self.may_end.wait()
        return "done"


def step_input() -> ExecuteActivityInput:
    return ExecuteActivityInput(fn=lambda: None, args=(), executor=None, headers={})


def environment(heartbeat_timeout: timedelta | None) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(env.info, heartbeat_timeout=heartbeat_timeout)
    return env


async def test_a_step_beats_until_it_ends_and_no_longer() -> None:
    step, env, beats = Step(), environment(timedelta(milliseconds=30)), 0

    def count(*_: object) -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            step.may_end.set()

    env.on_heartbeat = count
    steps = HeartbeatInterceptor().intercept_activity(step)

    assert await env.run(steps.execute_activity, step_input()) == "done"
    after_the_end = beats
    await asyncio.sleep(0.1)  # several beats long: there is nothing to wait for
    assert beats == after_the_end


async def test_a_step_without_a_heartbeat_timeout_is_left_alone() -> None:
    step, env = Step(), environment(None)
    env.on_heartbeat = lambda *_: pytest.fail("nobody asked for it")
    step.may_end.set()

    assert await env.run(
        HeartbeatInterceptor().intercept_activity(step).execute_activity, step_input()
    )


async def test_a_step_that_is_over_at_once_costs_no_heartbeat() -> None:
    step, env = Step(), environment(timedelta(seconds=30))
    env.on_heartbeat = lambda *_: pytest.fail("the server was asked for nothing")
    steps = HeartbeatInterceptor().intercept_activity(step)
    running = asyncio.ensure_future(env.run(steps.execute_activity, step_input()))
    for _ in range(5):
        await asyncio.sleep(0)  # until what runs beside the step has had its turn
    step.may_end.set()

    assert await running == "done"
