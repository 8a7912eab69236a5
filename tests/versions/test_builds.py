"""Two builds of the workers side by side: who gets which orders, and what moves them."""

import re

import pytest

from devstack.stack import Stack
from tests.devstack.test_shape import has_status, list_ticket, pay, person, reserve
from tests.devstack.waiting import eventually
from tests.versions.conftest import UNVERSIONED
from tests.versions.deployment import (
    DEPLOYMENT,
    backlog_of,
    builds_of,
    make_current,
    make_none_current,
    temporal,
    told_of,
)

pytestmark = pytest.mark.long


def test_no_build_gets_orders_before_one_is_made_current_and_the_workers_say_how(
    stack: Stack,
) -> None:
    make_none_current(stack)
    log = stack.parts["worker-1"].log
    stack.stop_part("worker-1")
    log.write_text("")
    stack.start_part("worker-1")
    with person(stack.urls["api"]) as buyer:
        ticket = list_ticket(buyer)
        with person(stack.urls["api"]) as other:
            answer = other.post("/api/orders", json={"ticketId": ticket["id"]})
            assert (answer.status_code, answer.json()["code"]) == (503, "temporal_unavailable")

        eventually(lambda: "no build of holdfast is current" in log.read_text())
        advice = re.search(r"(temporal worker deployment .*)$", log.read_text(), re.MULTILINE)
        assert advice
        temporal(stack, advice[1])
        order = reserve(buyer)
        assert pay(buyer, order).status_code == 201
        assert builds_of(stack, order["id"]) == {"1"}


def test_an_order_ends_on_the_build_on_which_it_began(stack: Stack) -> None:
    make_current(stack, "1")
    with person(stack.urls["api"]) as buyer:
        old = reserve(buyer)
        make_current(stack, "2")
        new = reserve(buyer)

        assert pay(buyer, old).status_code == 201
        assert pay(buyer, new).status_code == 201
        eventually(lambda: has_status(buyer, old, "completed"))
    assert builds_of(stack, old["id"]) == {"1"}
    assert builds_of(stack, new["id"]) == {"2"}


def test_a_ramp_gives_a_share_of_the_new_orders_to_the_new_build(stack: Stack) -> None:
    make_current(stack, "1")
    ramp = (
        "temporal worker deployment set-ramping-version"
        f" --deployment-name {DEPLOYMENT} --build-id 2 --percentage"
    )
    with person(stack.urls["api"]) as buyer:
        assert told_of(stack, "1") == "build 1 of holdfast is current: it gets all new orders"
        assert told_of(stack, "2") == "build 2 of holdfast gets no new orders: build 1 is current"
        temporal(stack, f"{ramp} 100")
        assert told_of(stack, "2") == "build 2 of holdfast is ramping: it gets 100 % of new orders"
        assert builds_of(stack, reserve(buyer)["id"]) == {"2"}
        temporal(stack, f"{ramp} 0")
        assert builds_of(stack, reserve(buyer)["id"]) == {"1"}


def test_an_order_whose_build_is_gone_waits_is_seen_and_can_be_moved(stack: Stack) -> None:
    make_current(stack, "1")
    with person(stack.urls["api"]) as buyer:
        order = reserve(buyer)
        make_current(stack, "2")
        stack.stop_part("worker-1")

        assert pay(buyer, order).status_code == 202
        assert has_status(buyer, order, "created")
        eventually(lambda: backlog_of(stack, "1") > 0)
        assert backlog_of(stack, "2") == 0

        temporal(
            stack,
            f"temporal workflow update-options --workflow-id order:{order['id']}"
            " --versioning-override-behavior auto_upgrade",
        )
        eventually(lambda: has_status(buyer, order, "completed"))
    assert builds_of(stack, order["id"]) == {"1", "2"}


def test_open_orders_of_unversioned_workers_go_to_the_first_build_that_is_current(
    stack: Stack,
) -> None:
    make_none_current(stack)
    stack.start_part(UNVERSIONED)
    with person(stack.urls["api"]) as buyer:
        order = reserve(buyer)
        assert builds_of(stack, order["id"]) == {""}
        make_current(stack, "1")
        stack.stop_part(UNVERSIONED)

        assert pay(buyer, order).status_code == 201
    assert builds_of(stack, order["id"]) == {"", "1"}
