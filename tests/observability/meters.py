"""A meter whose measurements a test can read."""

from collections import Counter
from collections.abc import Mapping

from temporalio.common import MetricMeter
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

Labels = tuple[tuple[str, str], ...]


class ReadableMeter:
    """The SDK's own meter, with what was added to its counters and recorded in its histograms."""

    def __init__(self) -> None:
        self._buffer = MetricBuffer(10_000)
        self.runtime = Runtime(telemetry=TelemetryConfig(metrics=self._buffer))
        self._added: Counter[tuple[str, Labels]] = Counter()
        self._recorded: dict[str, list[float]] = {}

    @property
    def meter(self) -> MetricMeter:
        return self.runtime.metric_meter

    def added(self, name: str, **labels: str) -> float:
        """What was added to a counter so far, or what a gauge was set to last."""
        self._read()
        return self._added[name, _key(labels)]

    def recorded(self, name: str) -> list[float]:
        """What was recorded in a histogram so far."""
        self._read()
        return self._recorded.get(name, [])

    def _read(self) -> None:
        for update in self._buffer.retrieve_updates():
            name = update.metric.name
            self._added[name, _key(update.attributes)] += int(update.value)
            self._recorded.setdefault(name, []).append(update.value)


def _key(labels: Mapping[str, str | int | float | bool]) -> Labels:
    return tuple(
        sorted((name, str(text)) for name, text in labels.items() if name != "service_name")
    )
