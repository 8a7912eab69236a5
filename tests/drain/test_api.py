"""An API process that is told to stop loses no request, whatever is going on."""

import asyncio
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from devstack.stack import Stack
from tests.devstack.stripe_faults import stripe_fault
from tests.devstack.test_shape import pay, person, reserve
from tests.devstack.waiting import eventually
from tests.drain.conftest import DRAIN_SECONDS
from tests.drain.histories import is_at_stripe
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
    monkeypatch.setattr(api, "environ", {**(api.environ or {}), "API_DRAIN": "0"})
    stack.start_part("api-1")
    with Load(stack) as load:
        load.wait_for_purchases(3)
        load.wait_for_a_look_at(stack.api_urls[0])
        stack.stop_part("api-1")
        load.wait_for_purchases(3)

    assert load.unanswered
    assert_nothing_is_left_over(stack, load)


def test_who_keeps_a_connection_is_answered_and_told_to_open_another(stack: Stack) -> None:
    connection = http.client.HTTPConnection(urlsplit(stack.api_urls[0]).netloc, timeout=10)
    connection.request("GET", "/readyz")
    ready = connection.getresponse()
    ready.read()
    assert (ready.status, ready.will_close) == (200, False)

    stack.parts["api-1"].ask_to_stop()
    eventually(lambda: httpx.get(f"{stack.api_urls[0]}/readyz").status_code == 503)
    connection.request("GET", "/readyz")
    draining = connection.getresponse()
    problem = json.loads(draining.read())

    assert (draining.status, draining.will_close) == (503, True)
    assert (problem["code"], problem["unavailable"]) == ("not_ready", ["api"])
    assert httpx.get(f"{stack.api_urls[0]}/api/tickets").status_code == 200
    stack.parts["api-1"].stop()
    assert stack.parts["api-1"].exit_code == 0


def test_a_payment_that_takes_longer_than_the_drain_is_answered(stack: Stack) -> None:
    with (
        person(stack.api_urls[0]) as buyer,
        ThreadPoolExecutor() as threads,
        stripe_fault(stack, kind="latency", delay_seconds=DRAIN_SECONDS + 1, times=None),
    ):
        order = reserve(buyer)
        payment = threads.submit(pay, buyer, order)
        eventually(lambda: is_at_stripe(stack, order["id"]))
        stack.stop_part("api-1")

        assert stack.parts["api-1"].exit_code == 0
        assert payment.result().status_code == 201
