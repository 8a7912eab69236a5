"""A process that is told to stop: what it does for those who are in the middle of something."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from devstack.stack import Stack
from tests.devstack.stripe_faults import stripe_fault
from tests.devstack.test_shape import Json, pay, person, reserve
from tests.devstack.waiting import eventually
from tests.drain.conftest import DRAIN_SECONDS
from tests.drain.histories import holder_of, is_at_stripe, lost_tasks

PATIENCE_SECONDS = 4.0
"""Less than a task waits for a worker that is dead."""


def seconds_to_pay(buyer: httpx.Client, order: Json) -> float:
    began_at = time.monotonic()
    assert pay(buyer, order).status_code == 201
    return time.monotonic() - began_at


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_an_order_of_a_worker_that_stopped_goes_on_at_once_with_another(stack: Stack) -> None:
    with person(stack.urls["api"]) as buyer:
        order = reserve(buyer)
        stack.stop_part(holder_of(stack, order["id"]))

        assert seconds_to_pay(buyer, order) < PATIENCE_SECONDS
    assert not lost_tasks(stack, [order["id"]])


@pytest.mark.long
def test_control_an_order_of_a_worker_that_died_waits(stack: Stack) -> None:
    with person(stack.urls["api"]) as buyer:
        order = reserve(buyer)
        stack.kill(holder_of(stack, order["id"]))

        assert seconds_to_pay(buyer, order) > PATIENCE_SECONDS
    assert lost_tasks(stack, [order["id"]])
