"""Violations of the invariants of tickets and orders, for operators."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import Field

from api.dependencies import Invariants, OperatorOnly
from api.http.models import ApiModel, Id, QueryModel
from api.http.pagination import Page, PageQuery
from api.http.problems import problems
from ticketing.errors import (
    ForeignOrigin,
    InvalidInput,
    MongoDBUnavailable,
    NotOperator,
    RouteNotFound,
    TemporalUnavailable,
)
from ticketing.invariants import Invariant, Scope, ViolationCode
from ticketing.models import ViolationStatus

router = APIRouter(prefix="/api/operations", tags=["operations"], dependencies=[OperatorOnly])


class ViolationView(ApiModel):
    """A violated invariant of one ticket or order."""

    id: Id
    invariant: Invariant
    code: ViolationCode = Field(
        description="What is wrong; docs/reconciliation.md says what to do."
    )
    detail: str = Field(description="What is wrong, in plain words.")
    ticket_id: Id | None
    order_id: Id | None
    intent_id: str | None = Field(description="Stripe's payment intent.")
    status: ViolationStatus = Field(
        description="`open`: an operator has to act; `repaired`: repaired automatically; "
        "`resolved`: no longer found."
    )
    found_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = Field(description="When it was repaired, or no longer found.")


class CheckedCountsView(ApiModel):
    """How many of each were checked."""

    tickets: int
    orders: int
    workflows: int = Field(description="Running workflows.")
    intents: int = Field(description="Stripe's payment intents.")


class RunView(ApiModel):
    """One check of all invariants."""

    scope: Scope
    started_at: datetime
    finished_at: datetime | None = Field(description="Null while it runs.")
    checked: CheckedCountsView
    reported: int = Field(description="Violations that were found and left to an operator.")
    repaired: int = Field(description="Violations that were repaired.")
    unexamined: int = Field(
        description="Candidates and pages that could not be examined; left to the next run."
    )


class ViolationPage(Page[ViolationView]):
    """A page of violations, newest first, and the latest run."""

    last_run: RunView | None = Field(
        description="The run that was started last; null before the first."
    )


class ViolationQuery(PageQuery):
    """Which violations."""

    status: ViolationStatus | None = ViolationStatus.OPEN


class CheckQuery(QueryModel):
    """What to check."""

    scope: Scope = Scope.RECENT


class RequestedCheck(ApiModel):
    """A requested check; `lastRun` of the list tells when it has finished."""

    scope: Scope


@router.get(
    "/invariants",
    responses=problems(NotOperator, RouteNotFound, InvalidInput),
)
async def list_violations(
    query: Annotated[ViolationQuery, Query()], invariants: Invariants
) -> ViolationPage:
    """Violated invariants, newest first; by default only the open ones."""
    found = await invariants.find(query.status, query)
    last_run = await invariants.last_run()
    return ViolationPage(
        items=[ViolationView.model_validate(violation) for violation in found.items],
        next_cursor=found.next_cursor,
        last_run=last_run and RunView.model_validate(last_run),
    )


@router.post(
    "/invariants",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(
        NotOperator,
        ForeignOrigin,
        RouteNotFound,
        InvalidInput,
        MongoDBUnavailable,
        TemporalUnavailable,
    ),
)
async def check_invariants(
    query: Annotated[CheckQuery, Query()], invariants: Invariants
) -> RequestedCheck:
    """Check now, or once more after the running check; never two at once."""
    await invariants.check(query.scope)
    return RequestedCheck(scope=query.scope)
