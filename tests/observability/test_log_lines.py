"""What the real processes log of orders, one JSON object a line, with order and trace."""

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.waiting import eventually
from tests.observability.collector import running_collector
from tests.observability.shopping import PASSWORD, Shopper, shoppers

Line = dict[str, Any]
Order = dict[str, str]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("stack"))
    with running_collector() as collector:
        environ = {
            **os.environ,
            "LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        }
        with Stack(settings, environ) as stack:
            yield stack


@pytest.fixture(scope="module")
def people(stack: Stack) -> Iterator[list[Shopper]]:
    with shoppers(stack, "seller", "buyer") as people:
        yield people


@pytest.fixture(scope="module")
def order(stack: Stack, people: list[Shopper]) -> Order:
    """An order that Stripe failed once, and that was refunded in part at Stripe itself."""
    seller, buyer = people
    order = buyer.reserve(seller.list_ticket())
    fault = {"kind": "error", "match": {"path": "/v1/payment_intents/*/capture"}}
    sandbox, key = stack.urls["stripe_sandbox"], stack.environment["STRIPE_API_KEY"]
    with httpx.Client(
        base_url=sandbox, headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as stripe:
        assert stripe.post("/_sandbox/faults", json=fault).status_code == 201
        intent = buyer.pay(order)["stripeId"]
        part = {"payment_intent": intent, "amount": "100"}
        assert stripe.post("/v1/refunds", data=part).status_code == 200
    return order


def lines(stack: Stack, name: str) -> list[Line]:
    """Everything that a process has logged, each line of it a JSON object."""
    return [json.loads(line) for line in stack.parts[name].log.read_text().splitlines()]


def line_with(stack: Stack, name: str, words: str) -> Line:
    """The line that says so, as soon as it is there."""
    found: list[Line] = []

    def is_there() -> bool:
        found[:] = [line for line in lines(stack, name) if words in line["message"]]
        return found != []

    eventually(is_there)
    return found[0]


@pytest.mark.long
@pytest.mark.parametrize(
    "words", ["POST '/api/orders' 201", "POST '/api/payments' 201", "/api/webhooks/stripe"]
)
def test_a_request_that_concerns_an_order_names_it(stack: Stack, order: Order, words: str) -> None:
    line = line_with(stack, "api", words)

    assert line["orderId"] == order["id"]
    assert len(line["requestId"]) == len(line["traceId"]) == 32


@pytest.mark.long
@pytest.mark.usefixtures("order")  # which the other tests take for the first one
def test_a_payment_with_an_idempotency_key_names_its_order(
    stack: Stack, people: list[Shopper]
) -> None:
    seller, buyer = people
    order = buyer.reserve(seller.list_ticket())
    answer = buyer.submit(order, key="a-key-of-the-buyers")
    assert answer.status_code == 201, answer.text

    def lines_of_it() -> list[Line]:
        asked = answer.headers["X-Request-Id"]
        return [line for line in lines(stack, "api") if line.get("requestId") == asked]

    eventually(lambda: lines_of_it() != [])
    assert {line.get("orderId") for line in lines_of_it()} == {order["id"]}


@pytest.mark.long
def test_a_request_that_concerns_none_names_none(stack: Stack, order: Order) -> None:
    assert "orderId" not in line_with(stack, "api", "POST '/api/tickets' 201")


@pytest.mark.long
def test_a_step_that_fails_names_its_order_and_the_orders_trace(stack: Stack, order: Order) -> None:
    line = line_with(stack, "worker", "Completing activity as failed")

    assert line["message"] == "Completing activity as failed"
    assert line["orderId"] == order["id"]
    assert line["traceId"] == line_with(stack, "api", "POST '/api/orders' 201")["traceId"]
    assert "PaymentOutcomeUnknown" in line["exception"]


@pytest.mark.long
def test_a_workflow_names_its_order_and_trace(stack: Stack, order: Order) -> None:
    line = line_with(stack, "worker", "the order stays completed")

    assert line["orderId"] == order["id"]
    assert len(line["traceId"]) == 32
    assert "{" not in line["message"]


@pytest.mark.long
def test_what_the_sdk_says_is_a_line_like_any_other(stack: Stack, order: Order) -> None:
    stack.kill("temporal")
    words = "retr"
    eventually(lambda: any(words in line["message"] for line in lines(stack, "worker")), 60)

    assert {line["logger"] for line in lines(stack, "worker")} >= {"temporalio.core"}
    stack.start_part("temporal")


@pytest.mark.long
def test_no_line_holds_a_secret_or_an_address(
    stack: Stack, people: list[Shopper], order: Order
) -> None:
    logged = "".join(stack.parts[name].log.read_text() for name in ("api", "worker"))
    names = ("JWT_KEYS", "STRIPE_API_KEY", "OPERATOR_TOKEN", "STRIPE_WEBHOOK_SECRET")
    secrets = [stack.environment[name] for name in names]
    sessions = [person.http.cookies["session"] for person in people]
    for text in [PASSWORD, *(person.email for person in people), *secrets, *sessions]:
        assert text not in logged
