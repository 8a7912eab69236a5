"""Reading what Prometheus would read."""

from collections.abc import Iterable

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from devstack.ports import LOOPBACK


def scrape(port: int) -> dict[str, Metric]:
    """The metrics that a process serves on a port of this machine, by name."""
    answer = httpx.get(f"http://{LOOPBACK}:{port}/metrics", trust_env=False, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {full_name(metric): metric for metric in text_string_to_metric_families(answer.text)}


def full_name(metric: Metric) -> str:
    """The name as it is scraped; the parser takes the suffix of a counter away."""
    return f"{metric.name}_total" if metric.type == "counter" else str(metric.name)


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    """What the samples of that name with those labels add up to; a histogram by its `_count`."""
    family = metrics[name.removesuffix("_count").removesuffix("_sum")]
    found = [
        sample.value
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert found, f"{name}{labels} is not there"
    return sum(found)


def labels_of(metrics: Iterable[Metric]) -> set[tuple[str, str]]:
    """Every label with every value that it has anywhere."""
    return {
        item for metric in metrics for sample in metric.samples for item in sample.labels.items()
    }
