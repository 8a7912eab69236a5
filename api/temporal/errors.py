"""Errors of Temporal's client, translated once for the whole API."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ticketing.errors import TemporalUnavailable

logger = logging.getLogger(__name__)

UNAVAILABLE_STATUSES = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.UNKNOWN,  # the connection broke during an answer
        RPCStatusCode.INTERNAL,  # the same, or the server cannot reach its database
        RPCStatusCode.FAILED_PRECONDITION,  # a worker currently fails the workflow's task
        RPCStatusCode.UNAUTHENTICATED,  # an API key that has expired
        RPCStatusCode.PERMISSION_DENIED,
    }
)


class TemporalOutcomeUnknown(TemporalUnavailable):
    """Temporal did not answer, but may have accepted the request."""


class WorkflowNotFound(Exception):
    """No workflow with this id accepts messages: it does not exist, or is closed."""


class WorkflowAlreadyStarted(Exception):
    """A workflow with this id was started before."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate the errors of a request to Temporal; any other exception is a bug.

    Raises:
        TemporalOutcomeUnknown: there was no answer.
        WorkflowNotFound: the workflow does not exist, or is closed.
        WorkflowAlreadyStarted: the workflow to start was started before.
        TimeoutError: an update was not answered in time.
    """
    try:
        yield
    except WorkflowAlreadyStartedError:
        raise WorkflowAlreadyStarted from None
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        if isinstance(error.__cause__, RPCError):
            logger.warning("Temporal does not respond: %s", error.__cause__.status.name)
            raise TemporalOutcomeUnknown from None
        raise TimeoutError from None  # the SDK's form of asyncio's timeout
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise WorkflowNotFound from None
        if error.status not in UNAVAILABLE_STATUSES:
            raise
        logger.warning("Temporal does not respond: %s", error.status.name)
        raise TemporalOutcomeUnknown from None
