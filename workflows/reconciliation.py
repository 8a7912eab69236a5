"""The reconciliation: one check of all invariants."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.reconciliation.activities import (
        CandidatePage,
        PageRequest,
        ReconciliationActivities,
        RunRecord,
        Source,
    )
    from activities.reconciliation.violations import Candidate
    from ticketing.invariants import Scope

PAGE_TIMEOUT = timedelta(minutes=1)
PAGE_DEADLINE = timedelta(minutes=5)
"""How long one page is retried; after that the rest of its source is left to the next run."""
EXAMINATION_TIMEOUT = timedelta(minutes=2)
EXAMINATION_DEADLINE = timedelta(minutes=10)
"""How long one candidate is retried; after that it is left to the next run."""

RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))

SOURCES = list(Source)
COUNTED = (Source.TICKETS, Source.ORDERS, Source.WORKFLOWS, Source.INTENTS)
"""Named as they are counted; open orders are among the orders, unless they are old."""

MAX_CANDIDATES = 200
"""How many are collected before they are examined; it bounds the history."""
CONCURRENCY = 5


@dataclass(frozen=True)
class Progress:
    """The state of the check that continues as new, when the history has grown long."""

    run: RunRecord
    source: Source = Source.TICKETS
    after: str | None = None


@dataclass(frozen=True)
class ReconciliationInput:
    """What to check, and in steps of which size."""

    scope: Scope = Scope.RECENT
    page_size: int = 100
    pages_per_history: int = 200
    pause: timedelta = timedelta(seconds=30)
    """Between the scan and the examination: what was changing has settled by then."""
    progress: Progress | None = None


@workflow.defn
class ReconciliationWorkflow:
    """One check of every invariant over MongoDB, Temporal and Stripe.

    Every source is scanned for candidates, page by page. After a pause, a snapshot is taken of
    each; a violation that has exactly one repair is repaired, and any other is recorded for an
    operator. An order whose workflow runs is left to that workflow.
    """

    @workflow.init
    def __init__(self, input: ReconciliationInput) -> None:
        self._input = input
        begun = RunRecord(
            run_id=workflow.info().first_execution_run_id,
            scope=input.scope,
            started_at=workflow.now(),
        )
        self._progress = input.progress or Progress(begun)
        self._is_over = False
        self._candidates: dict[str, Candidate] = {}

    @workflow.run
    async def run(self, input: ReconciliationInput) -> RunRecord:
        """Scan, pause, examine, and continue as new until every source is scanned."""
        await self._record_run()
        await self._collect_candidates()
        if self._candidates:
            if input.pause:
                await workflow.sleep(input.pause, summary="Let what is in motion settle")
            await self._examine_all(list(self._candidates.values()))
        if not self._is_over:
            workflow.continue_as_new(replace(input, progress=self._progress))
        self._update_run(finished_at=workflow.now())
        await self._record_run()
        return self._progress.run

    @workflow.query
    def progress(self) -> Progress:
        """How far the check has come."""
        return self._progress

    async def _collect_candidates(self) -> None:
        for _ in range(self._input.pages_per_history):
            page = await self._find_candidates_in_time()
            self._add_candidates(page.candidates)
            self._advance(page)
            if self._is_over or len(self._candidates) >= MAX_CANDIDATES:
                return

    async def _find_candidates_in_time(self) -> CandidatePage:
        try:
            return await self._find_candidates()
        except ActivityError:
            # Stripe, say, does not answer: the sources that need MongoDB alone do not wait for it.
            self._count("unexamined", 1)
            return CandidatePage(checked=0, candidates=(), next=None)

    async def _find_candidates(self) -> CandidatePage:
        return await workflow.execute_activity_method(
            ReconciliationActivities.find_candidates,
            PageRequest(
                source=self._progress.source,
                scope=self._input.scope,
                began_at=self._progress.run.started_at,
                after=self._progress.after,
                limit=self._input.page_size,
            ),
            summary=f"Scan a page of {self._progress.source}",
            start_to_close_timeout=PAGE_TIMEOUT,
            schedule_to_close_timeout=PAGE_DEADLINE,
            retry_policy=RETRIES,
        )

    def _add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """Add the candidates, each once, with all intents that name it."""
        for candidate in candidates:
            known = self._candidates.get(candidate.name, candidate)
            intent_ids = sorted({*known.intent_ids, *candidate.intent_ids})
            self._candidates[candidate.name] = replace(candidate, intent_ids=tuple(intent_ids))

    def _advance(self, page: CandidatePage) -> None:
        """Count the page and go on to the next one, or to the next source after the last."""
        source = self._progress.source
        if source in COUNTED:
            self._count(source, page.checked)
        if page.next is None:
            self._is_over = source is SOURCES[-1]
            source = source if self._is_over else SOURCES[SOURCES.index(source) + 1]
        self._progress = replace(self._progress, source=source, after=page.next)

    async def _examine_all(self, candidates: list[Candidate]) -> None:
        for first in range(0, len(candidates), CONCURRENCY):
            some = candidates[first : first + CONCURRENCY]
            await asyncio.gather(*(self._examine(candidate) for candidate in some))

    async def _examine(self, candidate: Candidate) -> None:
        try:
            examination = await workflow.execute_activity_method(
                ReconciliationActivities.examine_candidate,
                candidate,
                summary=f"Examine {candidate.name}",
                start_to_close_timeout=EXAMINATION_TIMEOUT,
                schedule_to_close_timeout=EXAMINATION_DEADLINE,
                retry_policy=RETRIES,
            )
        except ActivityError:
            self._count("unexamined", 1)
        else:
            self._count("reported", examination.reported)
            self._count("repaired", examination.repaired)

    def _count(self, what: str, more: int) -> None:
        self._update_run(**{what: getattr(self._progress.run, what) + more})

    def _update_run(self, **changes: int | datetime) -> None:
        run = replace(self._progress.run, **changes)  # type: ignore[arg-type] # by name
        self._progress = replace(self._progress, run=run)

    async def _record_run(self) -> None:
        await workflow.execute_activity_method(
            ReconciliationActivities.record_run,
            self._progress.run,
            summary="Record how far the check has come",
            start_to_close_timeout=PAGE_TIMEOUT,
            retry_policy=RETRIES,
        )
