"""What a collector is told of a purchase by the real processes."""

import os
from collections.abc import Iterator

import httpx
import pytest

from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.waiting import eventually
from tests.observability.collector import Collector, Span, running_collector
from tests.observability.shopping import PASSWORD, Shopper, shoppers

FROM_OUTSIDE = "4bf92f3577b34da6a3ce929d0e0e4736"
BAGGAGE = "marker-of-what-a-client-put-into-its-baggage"
QUERY = "marker-of-a-query"
PATH = "marker-of-a-path@example.com"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def stack(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("stack"))
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "LOG_FORMAT": "json",
    }
    with Stack(settings, environ) as stack:
        yield stack


@pytest.fixture(scope="module")
def people(stack: Stack) -> Iterator[list[Shopper]]:
    with shoppers(stack, "seller", "buyer") as people:
        yield people


@pytest.fixture(scope="module")
def order(stack: Stack, people: list[Shopper]) -> dict[str, str]:
    """A paid order, whose buyer's program has a trace of its own."""
    seller, buyer = people
    ticket = seller.list_ticket()
    buyer.http.headers["traceparent"] = f"00-{FROM_OUTSIDE}-00f067aa0ba902b7-01"
    buyer.http.headers["tracestate"] = f"vendor={BAGGAGE}"
    buyer.http.headers["baggage"] = f"note={BAGGAGE}"
    order = buyer.reserve(ticket)
    for header in ("traceparent", "tracestate", "baggage"):
        del buyer.http.headers[header]
    assert buyer.pay(order)["status"] == "completed"
    fail_in_every_way(stack, seller, buyer)
    buyer.http.get(f"/api/orders?q={QUERY}")
    buyer.http.get(f"/api/nothing/{PATH}?q={QUERY}")
    return order


def fail_in_every_way(stack: Stack, seller: Shopper, buyer: Shopper) -> None:
    """What instrumentations like to tell of: wrong passwords, keys twice, Stripe's failures."""
    for wrong in (PASSWORD, "marker-of-a-wrong-password"):
        user = {"email": buyer.email, "password": wrong}
        assert buyer.http.post("/api/users/signup", json=user).status_code == 409
    assert buyer.http.post("/api/users/token", data={"username": buyer.email}).is_error
    assert buyer.http.post("/api/users/signin", json=user).status_code == 401
    forged = {"Stripe-Signature": "t=1,v1=marker-of-a-signature"}
    assert buyer.http.post("/api/webhooks/stripe", headers=forged).status_code == 400
    for kind in ("error", "lost_answer"):
        fault = {"kind": kind, "match": {"path": "/v1/payment_intents"}}
        added = httpx.post(
            f"{stack.urls['stripe_sandbox']}/_sandbox/faults", json=fault, trust_env=False
        )
        assert added.status_code == 201
    order = buyer.reserve(seller.list_ticket())
    authenticating = buyer.submit(order, "pm_card_authenticationRequired")
    assert authenticating.status_code == 202, authenticating.text
    assert "_secret_" in authenticating.json()["clientSecret"]
    declined = buyer.submit(buyer.reserve(seller.list_ticket()), "pm_card_chargeDeclined")
    assert declined.status_code == 402


@pytest.fixture(scope="module")
def trace(collector: Collector, order: dict[str, str]) -> dict[str, Span]:
    """The order's trace, when it is over."""

    def requests() -> list[Span]:
        spans = [span for span in collector.spans() if span.name == "POST /api/orders"]
        return [s for s in spans if s.attributes["holdfast.order_id"] == order["id"]]

    eventually(lambda: requests() != [])
    (request,) = requests()
    trace_id = request.trace_id
    eventually(lambda: named(collector.trace(trace_id), "CompleteWorkflow:OrderWorkflow") != [])
    return collector.trace(trace_id)


def named(trace: dict[str, Span], name: str) -> list[Span]:
    return [span for span in trace.values() if span.name == name]


def lineage(trace: dict[str, Span], span: Span) -> list[Span]:
    """The span and everything that it is part of, the outermost first."""
    line = [span]
    while (parent := trace.get(line[0].parent_id)) is not None:
        line.insert(0, parent)
    return line


@pytest.mark.long
def test_one_trace_leads_from_the_request_to_each_call_of_stripe(trace: dict[str, Span]) -> None:
    for call in ("authorize", "capture"):
        (at_stripe,) = named(trace, f"Stripe {call}")

        line = lineage(trace, at_stripe)

        assert [(span.service, span.name) for span in line] == [
            ("holdfast-api", "POST /api/orders"),
            ("holdfast-api", "StartUpdateWithStartWorkflow:OrderWorkflow"),
            ("holdfast-worker", "StartActivity:take_payment"),
            ("holdfast-worker", "RunActivity:take_payment"),
            ("holdfast-worker", f"Stripe {call}"),
        ]
        (run,) = named(trace, "RunWorkflow:OrderWorkflow")
        assert run.parent_id == line[1].id


@pytest.mark.long
def test_a_clients_trace_is_linked_to_and_not_joined(
    trace: dict[str, Span], collector: Collector
) -> None:
    (request,) = named(trace, "POST /api/orders")

    assert request.parent_id == ""
    assert request.linked == (FROM_OUTSIDE,)
    assert collector.trace(FROM_OUTSIDE) == {}


@pytest.mark.long
def test_steps_in_the_database_are_part_of_what_asked_for_them(trace: dict[str, Span]) -> None:
    (run,) = named(trace, "RunActivity:reserve_ticket")
    commands = [span for span in trace.values() if span.parent_id == run.id]

    assert "findAndModify tickets" in {span.name for span in commands}
    assert {span.attributes["db.system.name"] for span in commands} == {"mongodb"}
    request = lineage(trace, run)[0]
    assert request.attributes["http.route"] == "/api/orders"
    assert request.attributes["http.response.status_code"] == "201"


@pytest.mark.long
def test_the_payments_request_is_a_trace_of_its_own_that_the_orders_is_linked_to(
    trace: dict[str, Span], collector: Collector, order: dict[str, str]
) -> None:
    payments = [span for span in collector.spans() if span.name == "POST /api/payments"]
    (payment,) = [s for s in payments if s.attributes["holdfast.order_id"] == order["id"]]
    (handled,) = named(trace, "HandleSignal:payment_submitted")

    assert handled.linked == (payment.trace_id,)


@pytest.mark.long
def test_nothing_secret_or_personal_leaves_the_processes(
    stack: Stack, people: list[Shopper], order: dict[str, str], collector: Collector
) -> None:
    def all_is_told() -> bool:
        return any(span.name == "GET other" for span in collector.spans())

    eventually(all_is_told)
    told = b"".join(collector.bodies)
    assert order["id"].encode() in told
    session = people[1].http.cookies["session"]
    secrets = [stack.environment[n] for n in ("JWT_KEYS", "STRIPE_API_KEY", "OPERATOR_TOKEN")]
    emails = [person.email for person in people]
    unwanted = [PASSWORD, session, QUERY, PATH, BAGGAGE, "pm_card_", "Front row", "_secret_"]
    unwanted += ["marker-of-", "Cookie", "Authorization", "Traceback", "$argon2id$"]
    for text in [*unwanted, *secrets, *emails]:
        assert text.encode() not in told, text


@pytest.mark.long
def test_a_change_stream_begins_no_trace(collector: Collector, trace: dict[str, Span]) -> None:
    roots = {span.name for span in collector.spans() if not span.parent_id}
    assert not any(name.startswith(("aggregate", "getMore", "find")) for name in roots), roots
    assert not any("healthz" in name or "readyz" in name for name in roots)
