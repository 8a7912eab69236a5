"""What Temporal answers besides a result, and what the API makes of it."""

import pytest
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.temporal.errors import (
    UNAVAILABLE_STATUSES,
    TemporalOutcomeUnknown,
    WorkflowAlreadyStarted,
    WorkflowNotFound,
    translate_errors,
)


def rpc_error(status: RPCStatusCode) -> RPCError:
    return RPCError("no details", status, b"")


@pytest.mark.parametrize("status", sorted(UNAVAILABLE_STATUSES))
def test_without_an_answer_the_outcome_is_unknown(status: RPCStatusCode) -> None:
    with pytest.raises(TemporalOutcomeUnknown), translate_errors():
        raise rpc_error(status)


def test_an_update_without_an_answer_has_an_unknown_outcome() -> None:
    with pytest.raises(TemporalOutcomeUnknown), translate_errors():
        raise WorkflowUpdateRPCTimeoutOrCancelledError from rpc_error(
            RPCStatusCode.DEADLINE_EXCEEDED
        )


@pytest.mark.parametrize(
    ("raised", "translation"),
    [
        (rpc_error(RPCStatusCode.NOT_FOUND), WorkflowNotFound),
        (WorkflowAlreadyStartedError("order:1", "OrderWorkflow"), WorkflowAlreadyStarted),
        (WorkflowUpdateRPCTimeoutOrCancelledError(), TimeoutError),
    ],
)
def test_what_temporal_says_is_translated(raised: Exception, translation: type[Exception]) -> None:
    with pytest.raises(translation), translate_errors():
        raise raised


@pytest.mark.parametrize(
    "mistake", [rpc_error(RPCStatusCode.INVALID_ARGUMENT), RuntimeError("something else")]
)
def test_a_mistake_of_ours_is_no_outage(mistake: Exception) -> None:
    with pytest.raises(type(mistake)) as raised, translate_errors():
        raise mistake
    assert raised.value is mistake
