"""The purchase of one ticket."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Annotated, Any

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeUpdate
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from pydantic import StringConstraints

    from activities.orders import (
        BeginPayment,
        BegunPayment,
        CancelOrder,
        CompleteOrder,
        FailedCharge,
        FailPayment,
        OrderActivities,
    )
    from activities.payments import (
        AttemptedIntent,
        AuthorizePayment,
        PaymentActivities,
        PaymentOutcome,
        PaymentState,
        TakenPayment,
    )
    from activities.reservations import Reservation, ReservationActivities, ReserveTicket
    from ticketing.problem_codes import ProblemCode
    from ticketing.statuses import CancelReason, OrderStatus
    from workflows.messages import SignalHandler, dispatch_signal
    from workflows.search_attributes import (
        ORDER_STATUS,
        PAYMENT_INTENT_ID,
        RESERVATION_EXPIRES_AT,
    )
    from workflows.steps import (
        DATABASE_TIMEOUT,
        LOCAL_RETRIES,
        run_database_activity,
        run_local_database_activity,
        run_shielded,
        run_stripe_activity,
        try_stripe_activity,
    )

RESERVE_TIMEOUT = timedelta(seconds=8)
"""After this time a reservation is abandoned, a little before the API stops waiting for it."""

PAYMENT_SUBMITTED = "payment_submitted"
PAYMENT_INTENT_CHANGED = "payment_intent_changed"
"""The names of the signals."""

FINDS_BY_INTENT = "find-by-payment-intent"
"""The patch since which an order is found by its payment intent (docs/changing-workflows.md)."""
TAKES_PAYMENT_AT_ONCE = "take-payment-at-once"
"""The patch since which one activity begins, authorizes and captures (docs/adr/0026)."""


@dataclass(frozen=True)
class OrderInput:
    """One buyer's order of one ticket, and the rules in force when it was placed."""

    order_id: str
    ticket_id: str
    buyer_id: str
    reservation_ttl: timedelta
    payment_attempts: int
    max_reservations: int
    """How many unpaid tickets the buyer may hold."""
    slot: int | None = None
    """Which of these the order may take: it was free when the API looked it up."""
    price: int | None = None
    """The price that the buyer was shown; if None, any price is accepted."""


@dataclass(frozen=True)
class PaymentSubmitted:
    """A buyer submitted a payment; the charge's id was made with the request."""

    charge_id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{24}$")]
    payment_method: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """Stripe's id of a payment method; card numbers never come here."""


@dataclass(frozen=True)
class PaymentIntentChanged:
    """Stripe says that something happened to an intent; Stripe is asked what."""

    intent_id: str


class PaymentDecision(StrEnum):
    """The state of a submitted payment, for its buyer."""

    COMPLETED = auto()
    DECLINED = auto()
    AUTHENTICATION_REQUIRED = auto()
    REFUSED = auto()
    """It was not tried: another one is being decided, or the order is closing."""


@dataclass(frozen=True)
class OrderState:
    """What the order is, and what it waits for."""

    status: OrderStatus | None
    """None until the ticket is reserved, and for good where that was refused."""
    expires_at: datetime
    attempts_made: int
    waits_for: str
    cancel_reason: CancelReason | None = None
    refusal: ProblemCode | None = None


class _Step(StrEnum):
    """Where `run` is; the handlers decide by it what they may accept."""

    RESERVING = "the ticket to be reserved"
    AWAITING_PAYMENT = "the buyer to pay"
    DECIDING_PAYMENT = "Stripe to decide the payment"
    AWAITING_AUTHENTICATION = "the buyer to authenticate the payment with the bank"
    CANCELLING = "the ticket to be released"
    CLOSED = "nothing"


@workflow.defn
class OrderWorkflow:
    """One purchase, from the reservation to the completed order.

    The ticket is reserved first and money moves last, by one capture, while the ticket is
    still held. So an order that does not complete never holds anybody's money, and a ticket
    is released only after Stripe has said that nothing can be paid for it any more.
    """

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        self._input = input
        self._reserved_at = workflow.now()
        self._expires_at = self._reserved_at + input.reservation_ttl
        self._step = _Step.RESERVING
        self._status: OrderStatus | None = None
        self._cancel_reason: CancelReason | None = None
        self._reservation: Reservation | None = None
        self._submitted: PaymentSubmitted | None = None
        self._decisions: dict[str, PaymentDecision | None] = {}
        self._attempt = 0
        self._intent_changed = False
        self._cancellation: CancelReason | None = None
        self._details = ""
        self._dropped_signal: str | None = None
        self._unindexed_intent_id: str | None = None

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        """Carry the purchase out, whatever cancellation is requested meanwhile."""
        await run_shielded(self._purchase(), self._request_cancellation_by_operator)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.state()

    def _request_cancellation_by_operator(self) -> None:
        """Obeyed where a buyer's request would be, and no sooner."""
        self._cancellation = self._cancellation or CancelReason.CANCELLED_BY_OPERATOR

    async def _purchase(self) -> None:
        reservation = await self._reserve()
        while self._step is _Step.AWAITING_PAYMENT:
            payment = await self._wait_for_payment()
            if payment is None:
                await self._cancel_order(self._cancellation or CancelReason.EXPIRED)
            else:
                await self._decide_payment(payment, reservation)
        for charge_id, decision in self._decisions.items():
            self._decisions[charge_id] = decision or PaymentDecision.REFUSED

    @workflow.update
    async def reserve(self) -> Reservation:
        """The reservation, or why there is none; sent together with the start."""
        await workflow.wait_condition(lambda: self._reservation is not None)
        assert self._reservation is not None  # noqa: S101 - what the line above waited for
        return self._reservation

    @workflow.signal(dynamic=True)
    def receive(self, name: str, payloads: Sequence[RawValue]) -> None:
        """Take `payment_submitted` and `payment_intent_changed`; drop what is neither."""
        handlers: dict[str, SignalHandler[Any]] = {
            PAYMENT_SUBMITTED: SignalHandler(PaymentSubmitted, self._on_payment_submitted),
            PAYMENT_INTENT_CHANGED: SignalHandler(
                PaymentIntentChanged, self._on_payment_intent_changed
            ),
        }
        if dropped := dispatch_signal(handlers, name, payloads):
            self._dropped_signal = dropped
            self._show_details()

    def _on_payment_submitted(self, payment: PaymentSubmitted) -> None:
        """Take the payment if none is being decided; delivered twice, it counts once."""
        if payment.charge_id in self._decisions:
            return
        self._decisions[payment.charge_id] = None
        if self._is_deciding_payment() or self._step is _Step.CLOSED:
            self._decisions[payment.charge_id] = PaymentDecision.REFUSED
        elif self._step is not _Step.CANCELLING and self._cancellation is None:
            self._submitted = payment
        # Else the order is closing, and the payment is refused once it is closed.

    def _on_payment_intent_changed(self, _change: PaymentIntentChanged) -> None:
        """Read the intent again; the signal itself does not say its state."""
        self._intent_changed = True

    @workflow.update
    async def await_payment_decision(self, charge_id: str) -> PaymentDecision:
        """The decision about the payment, as soon as there is one."""
        await workflow.wait_condition(lambda: self._decisions[charge_id] is not None)
        decision = self._decisions[charge_id]
        assert decision is not None  # noqa: S101 - what the line above waited for
        return decision

    @await_payment_decision.validator
    def _validate_await_payment_decision(self, charge_id: str) -> None:
        if charge_id not in self._decisions:
            raise ApplicationError("no such payment was submitted", type="payment_not_found")

    @workflow.update
    async def cancel(self) -> OrderState:
        """Cancel the order for its buyer; answers when it is closed, one way or the other."""
        self._cancellation = self._cancellation or CancelReason.CANCELLED_BY_BUYER
        await workflow.wait_condition(lambda: self._step is _Step.CLOSED)
        return self.state()

    @cancel.validator
    def _validate_cancel(self) -> None:
        if self._status is OrderStatus.COMPLETED:
            raise ApplicationError("the order is completed", type=ProblemCode.ORDER_COMPLETED)
        if self._submitted is not None or self._step is _Step.DECIDING_PAYMENT:
            raise ApplicationError(
                "a payment is being decided", type=ProblemCode.PAYMENT_IN_PROGRESS
            )

    @workflow.query
    def state(self) -> OrderState:
        """What the order is, and what it waits for."""
        return OrderState(
            status=self._status,
            expires_at=self._expires_at,
            attempts_made=self._attempt,
            waits_for=self._step,
            cancel_reason=self._cancel_reason,
            refusal=self._reservation.refusal if self._reservation else None,
        )

    async def _reserve(self) -> Reservation:
        reservation = await self._reserve_in_time()
        if reservation.refusal is None:
            self._set_status(OrderStatus.CREATED)
            self._set_step(_Step.AWAITING_PAYMENT, f"Waiting for payment until {self._deadline()}.")
        else:
            self._set_step(_Step.CLOSED, f"Not reserved: {reservation.refusal}.")
        self._reservation = reservation
        return reservation

    async def _reserve_in_time(self) -> Reservation:
        request = reserve_request(self._input, self._reserved_at)
        time_left = RESERVE_TIMEOUT - (workflow.now() - workflow.info().workflow_start_time)
        # Perhaps no worker was running in time, and the buyer has had an answer. Or one has made
        # the reservation and died: this is its workflow task, run again from the beginning.
        if time_left <= timedelta(0):
            return await self._abandon_reservation(request)
        try:
            return await workflow.execute_local_activity_method(
                ReservationActivities.reserve_ticket,
                replace(request, time_left=time_left),
                summary="Reserve the ticket",
                schedule_to_close_timeout=time_left,
                start_to_close_timeout=DATABASE_TIMEOUT,
                retry_policy=LOCAL_RETRIES,
            )
        except FailureError:  # as in `run_local_database_activity`
            # It may have happened all the same, with only the answer lost.
            return await self._abandon_reservation(request)

    async def _abandon_reservation(self, request: ReserveTicket) -> Reservation:
        await run_database_activity(
            ReservationActivities.abandon_reservation,
            request,
            summary="Undo a reservation that may have been made",
        )
        return Reservation(refusal=ProblemCode.TEMPORAL_UNAVAILABLE)

    async def _wait_for_payment(self) -> PaymentSubmitted | None:
        """The next payment, or None once the deadline or a cancellation has come first."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._submitted is not None or self._cancellation is not None,
                timeout=max(self._expires_at - workflow.now(), timedelta(0)),
                timeout_summary="The reservation expires",
            )
        # A payment that arrives in the same task as the deadline is in time: the ticket is held.
        payment, self._submitted = self._submitted, None
        return payment

    async def _decide_payment(self, payment: PaymentSubmitted, reservation: Reservation) -> None:
        self._attempt += 1
        self._intent_changed = False
        begun, state = await self._ask_for_money(payment, reservation)
        if state is None:
            await self._adopt_recorded_state(payment, begun)
            return
        if state.outcome is PaymentOutcome.AUTHENTICATION_REQUIRED:
            self._decisions[payment.charge_id] = PaymentDecision.AUTHENTICATION_REQUIRED
            state = await self._wait_for_authentication(state)
        if state.outcome is PaymentOutcome.DECLINED:
            state = await self._give_up_intent(state)
        if state.outcome is PaymentOutcome.AUTHORIZED:
            state = await self._capture(state)
        if state.outcome is PaymentOutcome.FORBIDDEN:
            # This payment is over, and perhaps the order is not.
            begun = await self._begin_payment(self._beginning(payment, reservation))
            if not begun.is_begun:
                await self._adopt_recorded_state(payment, begun)
                return
        if state.outcome is PaymentOutcome.CAPTURED:
            await self._complete_order(payment)
        else:
            await self._fail_payment(payment, state)

    async def _ask_for_money(
        self, payment: PaymentSubmitted, reservation: Reservation
    ) -> tuple[BegunPayment, PaymentState | None]:
        """Begin the payment and let Stripe decide it; no state if it could not be begun."""
        self._set_step(
            _Step.DECIDING_PAYMENT, f"Asking Stripe to authorize payment {self._attempt}."
        )
        beginning = self._beginning(payment, reservation)
        if workflow.patched(TAKES_PAYMENT_AT_ONCE):
            # Operators are not told of the status while Stripe answers at once.
            self._status = OrderStatus.AWAITING_PAYMENT
            taken = await self._take_payment(beginning)
            if taken is not None and taken.state is not None:
                self._index_payment_intent(taken.state)
                return taken.begun, taken.state
            if taken is not None and not taken.begun.is_begun:
                return taken.begun, None
        # Step by step, each of which is repeated until it is done.
        self._set_status(OrderStatus.AWAITING_PAYMENT)
        begun = await self._begin_payment(beginning)
        if not begun.is_begun:
            return begun, None
        state = await self._authorize(payment, reservation)
        self._index_payment_intent(state)
        return begun, state

    def _beginning(self, payment: PaymentSubmitted, reservation: Reservation) -> BeginPayment:
        return BeginPayment(
            order_id=self._input.order_id,
            ticket_id=self._input.ticket_id,
            charge_id=payment.charge_id,
            attempt=self._attempt,
            amount=reservation.price,
            currency=reservation.currency,
            at=workflow.now(),
            payment_method=payment.payment_method,
        )

    async def _take_payment(self, beginning: BeginPayment) -> TakenPayment | None:
        """The payment at the first try; None if it failed, so that nothing is known."""
        return await try_stripe_activity(
            PaymentActivities.take_payment,
            beginning,
            summary=f"Charge {beginning.amount} {beginning.currency} (minor units)",
        )

    async def _begin_payment(self, beginning: BeginPayment) -> BegunPayment:
        return await run_local_database_activity(
            OrderActivities.begin_payment, beginning, summary=f"Record payment {self._attempt}"
        )

    async def _authorize(self, payment: PaymentSubmitted, reservation: Reservation) -> PaymentState:
        return await run_stripe_activity(
            PaymentActivities.authorize_payment,
            AuthorizePayment(
                order_id=self._input.order_id,
                charge_id=payment.charge_id,
                attempt=self._attempt,
                amount=reservation.price,
                currency=reservation.currency,
                payment_method=payment.payment_method,
                begun_at=workflow.now(),
            ),
            summary=f"Set {reservation.price} {reservation.currency} (minor units) aside",
        )

    def _index_payment_intent(self, state: PaymentState) -> None:
        """Let operators find the order by the id that Stripe's dashboard shows."""
        if state.intent_id is None:
            return
        if workflow.patched(TAKES_PAYMENT_AT_ONCE):
            self._unindexed_intent_id = state.intent_id
            if state.outcome is not PaymentOutcome.CAPTURED:
                self._set_status(OrderStatus.AWAITING_PAYMENT)
            # Else with the status of the completed order, a moment later.
        elif workflow.patched(FINDS_BY_INTENT):
            workflow.upsert_search_attributes([PAYMENT_INTENT_ID.value_set(state.intent_id)])

    async def _wait_for_authentication(self, state: PaymentState) -> PaymentState:
        """The payment after the bank's decision, or after the deadline or a cancellation."""
        while state.outcome is PaymentOutcome.AUTHENTICATION_REQUIRED:
            self._set_step(
                _Step.AWAITING_AUTHENTICATION,
                f"Waiting until {self._deadline()} for the buyer to authenticate with the bank.",
            )
            try:
                await workflow.wait_condition(
                    lambda: self._intent_changed or self._cancellation is not None,
                    timeout=max(self._expires_at - workflow.now(), timedelta(0)),
                    timeout_summary="The reservation expires",
                )
            except TimeoutError:
                self._cancellation = self._cancellation or CancelReason.EXPIRED
            if self._cancellation is not None:
                return await self._give_up_intent(state)
            self._intent_changed = False
            self._set_step(_Step.DECIDING_PAYMENT, "Asking Stripe how the bank decided.")
            state = await self._read_payment(state)
        return state

    async def _read_payment(self, state: PaymentState) -> PaymentState:
        return await run_stripe_activity(
            PaymentActivities.read_payment,
            self._attempted_intent(state),
            summary="Ask how the bank decided",
        )

    async def _give_up_intent(self, state: PaymentState) -> PaymentState:
        """Make the attempt unpayable, unless the buyer has just managed to pay."""
        if state.intent_id is None:
            return state
        self._set_step(_Step.DECIDING_PAYMENT, "Cancelling the payment intent at Stripe.")
        given_up = await run_stripe_activity(
            PaymentActivities.cancel_payment_intent,
            self._attempted_intent(state),
            summary="Make sure that nothing can be paid any more",
        )
        if given_up.outcome is PaymentOutcome.CANCELLED and state.failure_code:
            return replace(given_up, failure_code=state.failure_code)
        return given_up

    async def _capture(self, state: PaymentState) -> PaymentState:
        self._set_step(_Step.DECIDING_PAYMENT, "Authorized; capturing the payment.")
        return await run_stripe_activity(
            PaymentActivities.capture_payment,
            self._attempted_intent(state),
            summary="Capture the payment",
        )

    async def _complete_order(self, payment: PaymentSubmitted) -> None:
        status = await run_local_database_activity(
            OrderActivities.complete_order,
            CompleteOrder(
                order_id=self._input.order_id,
                ticket_id=self._input.ticket_id,
                charge_id=payment.charge_id,
                at=workflow.now(),
            ),
            summary="Sell the ticket",
        )
        if status is OrderStatus.CANCELLED:
            # An operator has reset this workflow to before a refund that was made since.
            self._cancel_reason = CancelReason.REFUNDED
            self._set_status(status)
            self._set_step(_Step.CLOSED, "Closed: paid, and refunded since.")
        else:
            self._set_status(OrderStatus.COMPLETED)
            self._set_step(_Step.CLOSED, "Completed: paid, and the ticket is sold.")
        self._decisions[payment.charge_id] = PaymentDecision.COMPLETED

    async def _fail_payment(self, payment: PaymentSubmitted, state: PaymentState) -> None:
        reason = self._cancellation
        if state.outcome is PaymentOutcome.FORBIDDEN:
            # Only after somebody has written to the database by hand, or reset the workflow.
            reason = reason or CancelReason.CANCELLED_BY_OPERATOR
        failed = FailedCharge(
            payment.charge_id,
            state.failure_code or reason or state.outcome,
            ended_intent_id=state.intent_id,
        )
        if reason is None and self._attempt < self._input.payment_attempts:
            await run_local_database_activity(
                OrderActivities.fail_payment,
                FailPayment(self._input.order_id, failed, workflow.now()),
                summary=f"Payment {self._attempt} failed: {failed.failure_code}",
            )
            self._set_status(OrderStatus.CREATED)
            self._set_step(
                _Step.AWAITING_PAYMENT,
                f"Payment {self._attempt} failed ({failed.failure_code}); "
                f"waiting for another until {self._deadline()}.",
            )
        else:
            await self._cancel_order(reason or CancelReason.PAYMENT_FAILED, failed)
        self._decisions[payment.charge_id] = PaymentDecision.DECLINED

    async def _cancel_order(
        self, reason: CancelReason, failed_charge: FailedCharge | None = None
    ) -> None:
        self._set_step(_Step.CANCELLING, f"Releasing the ticket: {reason}.")
        status = await run_database_activity(
            OrderActivities.cancel_order,
            CancelOrder(
                order_id=self._input.order_id,
                ticket_id=self._input.ticket_id,
                reason=reason,
                at=workflow.now(),
                failed_charge=failed_charge,
            ),
            summary=f"Release the ticket: {reason}",
        )
        if status is OrderStatus.CANCELLED:
            self._cancel_reason = reason
        self._set_status(status)
        self._set_step(_Step.CLOSED, f"Closed: {status} ({reason}).")

    async def _adopt_recorded_state(self, payment: PaymentSubmitted, begun: BegunPayment) -> None:
        """Adopt the order's state in MongoDB: an operator has reset its workflow."""
        if not begun.order_status.is_closed and not begun.is_ticket_held and not begun.undecided:
            await self._cancel_order(CancelReason.CANCELLED_BY_OPERATOR)
        elif begun.order_status.is_closed:
            self._set_status(begun.order_status)
            self._set_step(
                _Step.CLOSED,
                f"Found {begun.order_status} in the database; this run charged nothing.",
            )
        else:
            self._set_status(begun.order_status)
            self._set_step(_Step.AWAITING_PAYMENT, f"Waiting for payment until {self._deadline()}.")
        self._decisions[payment.charge_id] = PaymentDecision.REFUSED
        if begun.undecided is not None and begun.undecided.charge_id != payment.charge_id:
            # Its buyer was promised that it is decided.
            self._attempt = begun.undecided.attempt - 1
            self._submitted = PaymentSubmitted(
                begun.undecided.charge_id, begun.undecided.payment_method
            )
            self._decisions[begun.undecided.charge_id] = None

    def _is_deciding_payment(self) -> bool:
        return self._submitted is not None or self._step in (
            _Step.DECIDING_PAYMENT,
            _Step.AWAITING_AUTHENTICATION,
        )

    def _attempted_intent(self, state: PaymentState) -> AttemptedIntent:
        assert state.intent_id is not None  # noqa: S101 - only a refusal to make one has none
        assert self._reservation is not None  # noqa: S101 - a payment comes after it
        return AttemptedIntent(
            self._input.order_id, self._attempt, state.intent_id, self._reservation.price
        )

    def _deadline(self) -> str:
        return f"{self._expires_at:%Y-%m-%d %H:%M:%S} UTC"

    def _set_step(self, step: _Step, details: str) -> None:
        self._step = step
        self._details = details
        self._show_details()

    def _show_details(self) -> None:
        workflow.set_current_details(
            f"{self._details}\n\n{self._dropped_signal}" if self._dropped_signal else self._details
        )

    def _set_status(self, status: OrderStatus) -> None:
        attributes: list[SearchAttributeUpdate[Any]] = [ORDER_STATUS.value_set(status)]
        if self._status is None:
            attributes.append(RESERVATION_EXPIRES_AT.value_set(self._expires_at))
        if self._unindexed_intent_id is not None:
            attributes.append(PAYMENT_INTENT_ID.value_set(self._unindexed_intent_id))
            self._unindexed_intent_id = None
        workflow.upsert_search_attributes(attributes)
        self._status = status


def reserve_request(input: OrderInput, reserved_at: datetime) -> ReserveTicket:
    """What the workflow asks for at this moment."""
    return ReserveTicket(
        order_id=input.order_id,
        ticket_id=input.ticket_id,
        buyer_id=input.buyer_id,
        reserved_at=reserved_at,
        expires_at=reserved_at + input.reservation_ttl,
        max_reservations=input.max_reservations,
        slot=input.slot,
        price=input.price,
    )
