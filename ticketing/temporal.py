"""The one place that connects to Temporal."""

from collections.abc import Sequence

from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfigProfile
from temporalio.runtime import Runtime


async def connect_temporal(
    profile: ClientConfigProfile,
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Connect with the address, namespace, API key and TLS of the profile.

    What the client and its workers do is measured by the runtime, if one is given, and passes
    through the interceptors.

    Raises:
        RuntimeError: the server does not answer (unless `lazy`, which connects on first use).
    """
    return await Client.connect(
        **profile.to_client_connect_config(),
        data_converter=pydantic_data_converter,
        lazy=lazy,
        runtime=runtime,
        interceptors=interceptors,
    )
