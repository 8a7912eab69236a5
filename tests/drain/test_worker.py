"""A worker that is told to stop ends what it does, and hands over the rest at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from devstack.stack import Stack
from tests.devstack.stripe_faults import stripe_fault
from tests.devstack.test_shape import pay, person, reserve
from tests.devstack.waiting import eventually
from tests.drain.histories import begun_again, is_at_stripe
from tests.drain.load import CUSTOMERS, Load
from tests.drain.test_api import assert_nothing_is_left_over

SLOW_STRIPE_SECONDS = 8.0
"""Longer than the heartbeats of a worker that has died are waited for."""
BRISK_STRIPE_SECONDS = 1.0
"""Long enough for some purchase to be at Stripe at any time."""


@pytest.mark.long
def test_a_rolling_restart_of_the_workers_under_load_loses_nothing(
    stack: Stack,
) -> None:
    with (
        stripe_fault(stack, kind="latency", delay_seconds=BRISK_STRIPE_SECONDS, times=None),
        Load(stack) as load,
    ):
        for name in ("worker-1", "worker-2"):
            load.wait_for_purchases(3)
            stack.stop_part(name)
            assert stack.parts[name].exit_code == 0
            load.wait_for_purchases(3)
            stack.start_part(name)
        load.wait_for_purchases(3)

    assert load.unanswered == []
    assert load.unexpected == []
    assert begun_again(stack, load.promises.reserved) == 0
    assert_nothing_is_left_over(stack, load)


@pytest.mark.long
def test_control_workers_that_die_leave_steps_to_be_begun_again(stack: Stack) -> None:
    def is_everybody_at_stripe() -> bool:
        unpaid = load.promises.reserved.keys() - load.promises.paid
        return len(unpaid) == CUSTOMERS and all(is_at_stripe(stack, id) for id in unpaid)

    with Load(stack) as load:
        load.wait_for_purchases(3)
        with stripe_fault(stack, kind="held", times=None):
            eventually(is_everybody_at_stripe)
            stack.kill("worker-1")
            stack.kill("worker-2")
        stack.start_parts("worker-1", "worker-2")
        load.wait_for_purchases(3)

    # A step shows in the history when it is over, and it is begun again after a heartbeat's time.
    eventually(lambda: begun_again(stack, load.promises.reserved) > 0)
    assert_nothing_is_left_over(stack, load)


@pytest.mark.long
def test_a_step_at_stripe_that_is_under_way_is_ended_and_not_begun_again(stack: Stack) -> None:
    with (
        person(stack.urls["api"]) as buyer,
        ThreadPoolExecutor() as threads,
        stripe_fault(stack, kind="latency", delay_seconds=SLOW_STRIPE_SECONDS, times=None),
    ):
        order = reserve(buyer)
        payment = threads.submit(pay, buyer, order)
        eventually(lambda: is_at_stripe(stack, order["id"]))
        for name in ("worker-1", "worker-2"):  # one of them has the step
            stack.stop_part(name)
            assert stack.parts[name].exit_code == 0
            stack.start_part(name)

        assert payment.result().status_code == 201
    assert begun_again(stack, [order["id"]]) == 0


@pytest.mark.long
def test_control_a_step_of_workers_that_die_is_begun_again(stack: Stack) -> None:
    with (
        person(stack.urls["api"]) as buyer,
        ThreadPoolExecutor() as threads,
        stripe_fault(stack, kind="latency", delay_seconds=SLOW_STRIPE_SECONDS, times=None),
    ):
        order = reserve(buyer)
        payment = threads.submit(pay, buyer, order)
        eventually(lambda: is_at_stripe(stack, order["id"]))
        stack.kill("worker-1")
        stack.kill("worker-2")
        stack.start_parts("worker-1", "worker-2")
        payment.result()

    assert begun_again(stack, [order["id"]]) > 0
