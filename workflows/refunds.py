"""The refund of one completed order."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.refunds import (
        AddTimelineEntry,
        OrderPayment,
        RecordRefund,
        RefundActivities,
        RefundOutcome,
        RefundPayment,
        RefundState,
    )
    from ticketing.problem_codes import ProblemCode
    from ticketing.statuses import CancelReason, OrderStatus, TimelineCode
    from workflows.messages import SignalHandler, dispatch_signal
    from workflows.search_attributes import ORDER_STATUS, PAYMENT_INTENT_ID
    from workflows.steps import run_database_activity, run_shielded, run_stripe_activity

STRIPE_TIMEOUT = timedelta(minutes=2)
"""Longer than all the requests of one try take, so that no answer is lost."""

FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(hours=1)
"""How often Stripe is asked again about a refund that it cannot make yet."""
DELAYS_PER_RUN = 400
"""About two weeks; then the history starts anew, before it grows too long to replay."""

REFUND_REQUESTED = "refund_requested"
REFUND_CHANGED = "refund_changed"
"""The names of the signals."""


@dataclass(frozen=True)
class RefundRequested:
    """The ticket's seller wants the buyer to have the money back."""

    relist: bool
    """Whether the ticket goes back on sale; else it is withdrawn."""


@dataclass(frozen=True)
class RefundChanged:
    """Stripe says that something happened to a refund of the intent; Stripe is asked what."""

    intent_id: str


@dataclass(frozen=True)
class RefundInput:
    """One order, and what an earlier run of the same refund knows."""

    order_id: str
    request: RefundRequested | None = None
    is_under_way: bool = False
    delays: int = 0


@dataclass(frozen=True)
class RefundRecorded:
    """The order is cancelled, and this is Stripe's refund."""

    refund_id: str


@workflow.defn
class RefundWorkflow:
    """One refund, from the seller's request, or Stripe's event, to the cancelled order.

    The money goes back first and the ticket is given up last, so a buyer keeps either the one
    or the other. A run that completes has refunded the order, and is never run again; one that
    fails says why it could not, and may be asked for again.

    Nobody may have asked: a refund that was made in Stripe's own dashboard is only recorded.
    """

    @workflow.init
    def __init__(self, input: RefundInput) -> None:
        self._input = input
        self._request = input.request
        self._is_request_recorded = input.request is not None
        self._is_under_way = input.is_under_way
        self._delays = input.delays
        self._is_signalled = False
        self._is_cancellation_requested = False
        self._details = ""
        self._dropped_signal: str | None = None

    @workflow.run
    async def run(self, input: RefundInput) -> RefundRecorded:
        """Carry the refund out, whatever cancellation is requested meanwhile."""
        return await run_shielded(self._refund(), self._request_cancellation)

    def _request_cancellation(self) -> None:
        """Obeyed while Stripe has done nothing, and no later."""
        self._is_cancellation_requested = True

    async def _refund(self) -> RefundRecorded:
        order = await self._find_payment()
        if order.refund_id is not None:
            return RefundRecorded(order.refund_id)
        if order.intent_id is None:
            message = f"The order is {order.order_status}, and unpaid."
            raise self._failure(ProblemCode.ORDER_NOT_COMPLETED, message)
        workflow.upsert_search_attributes(
            [
                ORDER_STATUS.value_set(order.order_status),
                PAYMENT_INTENT_ID.value_set(order.intent_id),
            ]
        )
        refund_id = await self._refund_in_full(order.intent_id)
        await self._record_refund(order, refund_id)
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(OrderStatus.CANCELLED)])
        return RefundRecorded(refund_id)

    @workflow.signal(dynamic=True)
    def receive(self, name: str, payloads: Sequence[RawValue]) -> None:
        """Take `refund_requested` and `refund_changed`; drop what is neither."""
        handlers: dict[str, SignalHandler[Any]] = {
            REFUND_REQUESTED: SignalHandler(RefundRequested, self._on_refund_requested),
            REFUND_CHANGED: SignalHandler(RefundChanged, self._on_refund_changed),
        }
        if dropped := dispatch_signal(handlers, name, payloads):
            self._dropped_signal = dropped
            self._show_details(self._details)

    def _on_refund_requested(self, request: RefundRequested) -> None:
        """Refund the order; the first request decides whether the ticket is relisted."""
        self._request = self._request or request
        self._is_signalled = True

    def _on_refund_changed(self, _change: RefundChanged) -> None:
        """Read the refunds again; the signal itself does not say their state."""
        self._is_signalled = True

    async def _find_payment(self) -> OrderPayment:
        self._show_details("Looking for the payment of the order.")
        return await run_database_activity(
            RefundActivities.find_payment, self._input.order_id, summary="Find the payment"
        )

    async def _refund_in_full(self, intent_id: str) -> str:
        """The id of the refund, once all the money has gone back."""
        while True:
            self._is_signalled = False
            state = await self._ask_stripe(intent_id)
            match state.outcome:
                case RefundOutcome.REFUNDED:
                    assert state.refund_id is not None  # noqa: S101 - what refunded means
                    return state.refund_id
                case RefundOutcome.PENDING | RefundOutcome.BALANCE_SHORT:
                    await self._wait_for_stripe(state)
                case RefundOutcome.NOT_REFUNDED if self._request is None:
                    await self._end_without_refund(state)
                case RefundOutcome.NOT_REFUNDED if not self._is_under_way:
                    continue  # the request came while Stripe was asked
                case RefundOutcome.NOT_REFUNDED | RefundOutcome.REFUSED:
                    await self._refuse(state.reason or state.outcome)

    async def _ask_stripe(self, intent_id: str) -> RefundState:
        if self._request is not None and not self._is_request_recorded:
            self._is_request_recorded = True
            await self._add_timeline_entry(TimelineCode.REFUND_REQUESTED, workflow.now())
        if self._request is None or self._is_under_way:
            self._show_details("Asking Stripe what was refunded.")
            return await run_stripe_activity(
                RefundActivities.read_refunds,
                intent_id,
                summary="Ask what was refunded",
                timeout=STRIPE_TIMEOUT,
            )
        self._show_details("Asking Stripe to refund the payment.")
        return await run_stripe_activity(
            RefundActivities.refund_payment,
            RefundPayment(self._input.order_id, intent_id),
            summary="Refund the payment",
            timeout=STRIPE_TIMEOUT,
        )

    async def _wait_for_stripe(self, state: RefundState) -> None:
        """Wait for a signal or a delay; an operator can cancel a refund that has not begun."""
        self._is_under_way = state.outcome is RefundOutcome.PENDING
        if self._delays == 0:
            await self._add_timeline_entry(
                TimelineCode.REFUND_DELAYED, workflow.now(), state.reason
            )
        delay = min(FIRST_DELAY * 2 ** min(self._delays, 10), LONGEST_DELAY)
        self._delays += 1
        self._show_details(_delay_details(state, workflow.now() + delay))
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._is_signalled or self._may_be_given_up(),
                timeout=delay,
                timeout_summary="Ask Stripe again",
            )
        if self._may_be_given_up():
            await self._refuse(CancelReason.CANCELLED_BY_OPERATOR)
        if self._delays % DELAYS_PER_RUN == 0:
            workflow.continue_as_new(
                replace(
                    self._input,
                    request=self._request,
                    is_under_way=self._is_under_way,
                    delays=self._delays,
                )
            )

    def _may_be_given_up(self) -> bool:
        return self._is_cancellation_requested and not self._is_under_way

    async def _refuse(self, reason: str) -> None:
        await self._add_timeline_entry(TimelineCode.REFUND_REFUSED, workflow.now(), reason)
        message = f"Not refunded: {reason}. The order stays completed."
        raise self._failure(ProblemCode.REFUND_REFUSED, message, reason)

    async def _end_without_refund(self, state: RefundState) -> None:
        """Fail the run: nobody requested a refund, and at Stripe only a part was refunded."""
        if state.refunded_at is not None:
            await self._add_timeline_entry(
                TimelineCode.REFUNDED_IN_PART, state.refunded_at, str(state.refunded)
            )
        if self._request is None and not self._is_signalled:
            message = f"Only {state.refunded} (minor units) went back; the order stays completed."
            workflow.logger.warning("order %s: %s", self._input.order_id, message)
            raise self._failure(TimelineCode.REFUNDED_IN_PART, message)

    async def _record_refund(self, order: OrderPayment, refund_id: str) -> None:
        self._show_details("Refunded; cancelling the order.")
        relist = self._request is not None and self._request.relist
        await run_database_activity(
            RefundActivities.record_refund,
            RecordRefund(
                order_id=self._input.order_id,
                ticket_id=order.ticket_id,
                refund_id=refund_id,
                relist=relist,
                at=workflow.now(),
            ),
            summary="Cancel the order, " + ("put the ticket on sale" if relist else "withdraw it"),
        )
        fate = "on sale again" if relist else "withdrawn"
        self._show_details(f"Refunded ({refund_id}); the ticket is {fate}.")

    async def _add_timeline_entry(
        self, code: TimelineCode, at: datetime, reason: str | None = None
    ) -> None:
        await run_database_activity(
            RefundActivities.add_timeline_entry,
            AddTimelineEntry(self._input.order_id, code, at, reason),
            summary=f"Add to the timeline: {code}",
        )

    def _failure(
        self, code: ProblemCode | TimelineCode, message: str, *details: str
    ) -> ApplicationError:
        self._show_details(message)
        return ApplicationError(message, *details, type=code, non_retryable=True)

    def _show_details(self, details: str) -> None:
        self._details = details
        workflow.set_current_details(
            f"{details}\n\n{self._dropped_signal}" if self._dropped_signal else details
        )


def _delay_details(state: RefundState, next_try: datetime) -> str:
    asked_again = f"Stripe is asked again at {next_try:%Y-%m-%d %H:%M:%S} UTC, or on its news."
    if state.outcome is RefundOutcome.PENDING:
        return f"Stripe holds the refund as pending ({state.reason}). {asked_again}"
    return (
        "The balance at Stripe is too short for this refund: top it up. "
        f"{asked_again} Requesting cancellation gives the refund up."
    )
