"""Temporal's outages, where a page can say more about them than that there is one."""

from temporalio.service import RPCError

from api.http.errors import NO_TEMPORAL_CONNECTION, TEMPORAL_OUTAGES


def is_outage(error: RPCError | RuntimeError) -> bool:
    """Whether Temporal does not respond; anything else is a mistake of ours."""
    if isinstance(error, RPCError):
        return error.status in TEMPORAL_OUTAGES
    return never_arrived(error)


def never_arrived(error: RPCError | RuntimeError) -> bool:
    """Whether Temporal has certainly not heard of the request."""
    return str(error).startswith(NO_TEMPORAL_CONNECTION)
