"""The one place that connects to Temporal."""

from collections.abc import Sequence

from temporalio.client import Client, Interceptor
from temporalio.envconfig import ClientConfigProfile
from temporalio.runtime import Runtime

from ticketing.payloads import DATA_CONVERTER


async def connect_temporal(
    profile: ClientConfigProfile,
    *,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """Connect with the address, namespace, API key and TLS of the profile.

    What the client and its workers do is measured by the runtime, if one is given, and passes
    through the interceptors.

    Raises:
        RuntimeError: the server does not answer; the message names the settings to look at.
    """
    config = profile.to_client_connect_config()
    try:
        return await Client.connect(
            **config,
            data_converter=DATA_CONVERTER,
            runtime=runtime,
            interceptors=interceptors,
        )
    except RuntimeError as error:
        raise RuntimeError(
            _explained(error, profile, is_encrypted=bool(config.get("tls")))
        ) from None


def _explained(error: RuntimeError, profile: ClientConfigProfile, *, is_encrypted: bool) -> str:
    how = "over TLS" if is_encrypted else "without TLS"
    where = f"TEMPORAL_ADDRESS={profile.address}, {how}: Temporal cannot be used: {error}"
    if "InvalidCertificate" in str(error):
        where += "; TEMPORAL_TLS_SERVER_CA_CERT_PATH names the authority that is trusted"
    return where
