"""An API process that is told to stop loses no request, whatever is going on."""

import asyncio

import pytest

from devstack.stack import Stack
from tests.drain.load import Load
from tests.faults.invariants import violations
from tests.faults.run import gather_evidence


def assert_nothing_is_left_over(stack: Stack, load: Load) -> None:
    """Every order that was promised is completed, and no invariant is violated."""
    evidence = asyncio.run(gather_evidence(stack))
    ours = [evidence.orders[id] for id in load.promises.reserved]
    assert {order["status"] for order in ours} == {"completed"}
    assert violations(evidence, load.promises) == []


@pytest.mark.long
def test_a_rolling_restart_of_the_api_under_load_leaves_no_request_unanswered(
    stack: Stack,
) -> None:
    with Load(stack) as load:
        for name in ("api-1", "api-2"):
            load.wait_for_purchases(3)
            stack.stop_part(name)
            assert stack.parts[name].exit_code == 0
            load.wait_for_purchases(3)
            stack.start_part(name)
        load.wait_for_purchases(3)

    assert load.unanswered == []
    assert load.unexpected == []
    assert_nothing_is_left_over(stack, load)


@pytest.mark.long
def test_control_an_api_that_dies_leaves_requests_unanswered(stack: Stack) -> None:
    with Load(stack) as load:
        load.wait_for_purchases(3)
        stack.kill("api-1")
        load.wait_for_purchases(3)

    assert load.unanswered
    assert_nothing_is_left_over(stack, load)


@pytest.mark.long
def test_control_without_a_drain_somebody_finds_the_door_closed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = stack.parts["api-1"]
    stack.stop_part("api-1")
    # Only for this start: the tests after this one find a process that drains.
    with monkeypatch.context() as patch:
        patch.setattr(api, "environ", {**(api.environ or {}), "API_DRAIN": "0"})
        stack.start_part("api-1")
    with Load(stack) as load:
        load.wait_for_purchases(3)
        load.wait_for_a_look_at(stack.api_urls[0])
        stack.stop_part("api-1")
        load.wait_for_purchases(3)

    assert load.unanswered
    assert_nothing_is_left_over(stack, load)
