"""What Temporal answers besides a result, translated once for the whole API."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ticketing.errors import TemporalUnavailable

logger = logging.getLogger(__name__)

OUTAGES = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.UNKNOWN,  # a connection that broke in the middle of an answer
        RPCStatusCode.INTERNAL,  # likewise, or the server cannot reach its own database
        RPCStatusCode.FAILED_PRECONDITION,  # a worker fails at the workflow's task, for now
    }
)


class TemporalOutcomeUnknown(TemporalUnavailable):
    """Temporal did not answer, and may have taken the request all the same."""


class WorkflowNotFound(Exception):
    """No workflow of this id takes messages: there is none, or it is closed."""


class WorkflowAlreadyStarted(Exception):
    """A workflow of this id was started before."""


@contextmanager
def translated() -> Iterator[None]:
    """Translate what a request to Temporal raises; anything else is a mistake of ours.

    Raises:
        TemporalOutcomeUnknown: there was no answer.
        WorkflowNotFound: there is no such workflow any more, or yet.
        WorkflowAlreadyStarted: it was to be started, and had been.
        TimeoutError: an update was not answered in time.
    """
    try:
        yield
    except WorkflowAlreadyStartedError:
        raise WorkflowAlreadyStarted from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise TimeoutError from None  # what the SDK makes of a timeout of asyncio's
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise WorkflowNotFound from None
        if error.status not in OUTAGES:
            raise
        logger.warning("Temporal does not respond: %s", error.status.name)
        raise TemporalOutcomeUnknown from None
