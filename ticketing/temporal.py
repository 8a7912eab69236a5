"""The one place that connects to Temporal."""

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfigProfile


async def connect_temporal(profile: ClientConfigProfile, *, lazy: bool = False) -> Client:
    """Connect with the address, namespace, API key and TLS of the profile.

    Raises:
        RuntimeError: the server does not answer (unless `lazy`, which connects on first use).
    """
    return await Client.connect(
        **profile.to_client_connect_config(),
        data_converter=pydantic_data_converter,
        lazy=lazy,
    )
