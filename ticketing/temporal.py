"""The one place that connects to Temporal."""

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfigProfile
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig


async def connect_temporal(
    profile: ClientConfigProfile, *, lazy: bool = False, metrics_address: str | None = None
) -> Client:
    """Connect with the address, namespace, API key and TLS of the profile.

    With a metrics address (`host:port`) Temporal's metrics, and ours among them, can be scraped
    there by Prometheus.

    Raises:
        RuntimeError: the server does not answer (unless `lazy`, which connects on first use), or
            the metrics address cannot be listened on.
    """
    return await Client.connect(
        **profile.to_client_connect_config(),
        data_converter=pydantic_data_converter,
        lazy=lazy,
        runtime=None if metrics_address is None else _measured_at(metrics_address),
    )


def _measured_at(address: str) -> Runtime:
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=address)))
    except ValueError as error:
        raise RuntimeError(f"METRICS_ADDRESS={address}: {error}") from None
