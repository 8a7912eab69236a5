"""What Prometheus reads of real processes after people have bought, and failed to."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import temporalio.bridge
from prometheus_client import Metric
from ruamel.yaml import YAML

from devstack.process import REPOSITORY
from devstack.settings import StackSettings
from devstack.stack import Stack
from tests.devstack.waiting import eventually
from tests.observability.scraping import labels_of, scrape, value
from tests.observability.shopping import shoppers
from ticketing.errors import TemporalUnavailable
from ticketing.payments.instrumented_http import KINDS
from workflows import WORKFLOWS

ID = re.compile(r"[0-9a-f]{24}|(?:pi|pm|ch|re|evt)_\w{8,}|@|\?")
"""What no label may hold: ids of ours and of Stripe's, addresses, queries."""

PAGE = REPOSITORY / "docs" / "observability.md"
ALERTS = REPOSITORY / "deploy" / "prometheus" / "alerts.yaml"

Scraped = dict[str, Metric]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = StackSettings.on_free_ports(tmp_path_factory.mktemp("stack"))
    with Stack(settings, {**os.environ, "LOG_LEVEL": "WARNING"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def bought(stack: Stack) -> None:
    """One purchase, one decline, one refusal, one cancellation, one refund, one open order."""
    with shoppers(stack, "seller", "buyer", "rival") as (seller, buyer, rival):
        paid = buyer.reserve(seller.list_ticket())
        assert buyer.pay(paid)["status"] == "completed"
        assert seller.http.post(f"/api/orders/{paid['id']}/refund", json={}).status_code == 200
        declined = buyer.submit(buyer.reserve(seller.list_ticket()), "pm_card_chargeDeclined")
        assert declined.status_code == 402
        ticket = seller.list_ticket()
        order = buyer.reserve(ticket)
        assert rival.ask_for(ticket).status_code == 409
        assert buyer.http.delete(f"/api/orders/{order['id']}").status_code == 200
        rival.reserve(ticket)
        assert rival.http.get("/api/nothing/here@example.com?q=secret").status_code == 404
        assert rival.http.request("PROPFIND", "/healthz").status_code == 405


@pytest.fixture(scope="module")
def api(stack: Stack, bought: None) -> Scraped:
    return scrape(stack.settings.api_metrics_port)


@pytest.fixture(scope="module")
def worker(stack: Stack, bought: None) -> Scraped:
    def counts_the_open_order() -> bool:
        metrics = scrape(stack.settings.worker_metrics_port)
        return value(metrics, "holdfast_open_reservations", status="created") == 1

    eventually(counts_the_open_order)
    return scrape(stack.settings.worker_metrics_port)


def test_requests_are_counted_and_timed_by_the_template_of_their_route(api: Scraped) -> None:
    where = {"method": "POST", "route": "/api/orders"}
    assert value(api, "holdfast_http_requests_total", **where, status="201") == 4
    assert value(api, "holdfast_http_requests_total", **where, status="409") == 1
    assert value(api, "holdfast_http_request_duration_seconds_count", **where) == 5
    assert 0 < value(api, "holdfast_http_request_duration_seconds_sum", **where) < 60
    cancelled = {"method": "DELETE", "route": "/api/orders/{order_id}", "status": "200"}
    assert value(api, "holdfast_http_requests_total", **cancelled) == 1


def test_a_request_is_in_flight_until_it_is_answered(stack: Stack, bought: None) -> None:
    def none_is() -> bool:
        metrics = scrape(stack.settings.api_metrics_port)
        return value(metrics, "holdfast_http_requests_in_flight") == 0

    eventually(none_is)  # Stripe's webhooks are delivered after their orders' answers


def test_what_a_client_makes_up_is_no_label(api: Scraped) -> None:
    unknown = {"route": "other", "status": "404"}
    assert value(api, "holdfast_http_requests_total", **unknown) >= 1
    assert value(api, "holdfast_http_requests_total", method="other", status="405") == 1


@pytest.mark.long
def test_orders_are_counted_once_by_how_they_ended(api: Scraped, worker: Scraped) -> None:
    def ended(metrics: Scraped, outcome: str, reason: str) -> float:
        return value(metrics, "holdfast_orders_total", outcome=outcome, reason=reason)

    assert ended(worker, "completed", "") == 1
    assert ended(worker, "cancelled", "refunded") == 1
    assert ended(worker, "cancelled", "payment_failed") == 1
    assert ended(worker, "cancelled", "cancelled_by_buyer") == 1
    assert ended(worker, "cancelled", "expired") == 0
    assert ended(api, "refused", "ticket_reserved") == 1
    assert ended(api, "refused", "ticket_sold") == 0


def test_the_time_until_a_payment_is_told(worker: Scraped) -> None:
    assert value(worker, "holdfast_order_payment_seconds_count") == 1
    assert 0 < value(worker, "holdfast_order_payment_seconds_sum") < 60


def test_requests_to_stripe_are_timed_by_what_they_ask_for(worker: Scraped) -> None:
    for call, times in {"authorize": 2, "capture": 1, "refund": 1}.items():
        count = "holdfast_stripe_request_duration_seconds_count"
        assert value(worker, count, call=call) == times
    errors = worker["holdfast_stripe_errors_total"].samples
    assert [(s.labels["call"], s.labels["kind"], s.value) for s in errors] == [
        ("authorize", "declined", 1)
    ]


def test_temporal_tells_of_both_processes(api: Scraped, worker: Scraped) -> None:
    update = "ExecuteMultiOperation"
    assert value(api, "temporal_long_request_total", operation=update) == 4
    assert value(worker, "temporal_workflow_completed_total", workflow_type="OrderWorkflow") == 3
    assert "temporal_request_latency_seconds" in api
    assert "temporal_workflow_task_schedule_to_start_latency_seconds" in worker


def test_no_label_holds_an_id_or_an_address(api: Scraped, worker: Scraped) -> None:
    labels = labels_of([*api.values(), *worker.values()])

    assert ("route", "/api/orders/{order_id}") in labels
    assert {(name, text) for name, text in labels if ID.search(text)} == set()


def test_no_metric_holds_a_secret(stack: Stack, api: Scraped, worker: Scraped) -> None:
    served = repr([*api.values(), *worker.values()])
    for name in ("JWT_KEYS", "STRIPE_API_KEY", "OPERATOR_TOKEN", "STRIPE_WEBHOOK_SECRET"):
        assert stack.environment[name] not in served


def test_the_apis_own_port_serves_no_metrics(stack: Stack) -> None:
    assert httpx.get(f"{stack.urls['api']}/metrics", trust_env=False).status_code == 404


def test_the_documentation_tells_of_each_metric_of_ours_and_of_no_other(
    api: Scraped, worker: Scraped
) -> None:
    served: dict[str, tuple[str, str, frozenset[str]]] = {}
    for process, metrics in {"api": api, "worker": worker}.items():
        for name, metric in metrics.items():
            if name.startswith("holdfast_"):
                before, _, _ = served.get(name, ("", "", frozenset()))
                of = f"{before}, {process}" if before else process
                served[name] = (of, metric.type, _label_names(metric))

    assert _documented() == served


def test_the_documentation_and_the_alerts_name_metrics_that_there_are(
    api: Scraped, worker: Scraped
) -> None:
    served = {*api, *worker}
    named = set(re.findall(r"\b(?:holdfast|temporal)_\w+", PAGE.read_text() + _expressions()))
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    named -= {TemporalUnavailable.code}

    assert len(named) > 20
    assert {name for name in named - served if not _appears_with_its_first_event(name)} == set()


def test_the_alerts_ask_for_labels_that_there_are(api: Scraped, worker: Scraped) -> None:
    known = labels_of([*api.values(), *worker.values()])
    known |= {("kind", kind) for kind in KINDS.values()}
    known |= {("workflow_type", workflow.__name__) for workflow in WORKFLOWS}
    known |= set(re.findall(r"(job)_name: (\S+)", PAGE.read_text()))
    asked_for = set(re.findall(r'(\w+)="([^"]+)"', _expressions()))

    assert asked_for
    assert asked_for - known == set()


def _documented() -> dict[str, tuple[str, str, frozenset[str]]]:
    """Process, type and labels of each metric in the page's table."""
    row = r"^\| `(holdfast_\w+)` \| (.*?) \| (\w+) \| (.*?) ?\|"
    rows = re.findall(row, PAGE.read_text(), re.MULTILINE)
    return {name: (of, kind, frozenset(re.findall(r"\w+", ls))) for name, of, kind, ls in rows}


def _label_names(metric: Metric) -> frozenset[str]:
    return frozenset(name for sample in metric.samples for name in sample.labels) - {"le"}


def _expressions() -> str:
    """What the alerts ask Prometheus."""
    groups = YAML(typ="safe").load(ALERTS)["groups"]
    return "\n".join(rule["expr"] for group in groups for rule in group["rules"])


def _appears_with_its_first_event(name: str) -> bool:
    """Whether Temporal's SDK knows the metric, and has had nothing to count."""
    plain = re.sub(r"^temporal_|_total$|_seconds$", "", name)
    library = Path(str(temporalio.bridge.__file__)).with_name("temporal_sdk_bridge.abi3.so")
    return name.startswith("temporal_") and plain.encode() in library.read_bytes()
