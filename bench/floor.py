"""The lower bound for a purchase: the same workflow, with activities that do nothing.

Without HTTP, MongoDB and Stripe, what remains is the cost of Temporal itself.
`python -m bench.floor ADDRESS` runs its worker.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from bson import ObjectId
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from activities.orders import BeginPayment, BegunPayment, CompleteOrder
from activities.payments import AttemptedIntent, AuthorizePayment, PaymentOutcome, PaymentState
from activities.reservations import Reservation, ReserveTicket
from api.temporal.orders import Offer, order_start
from bench.timing import Timings
from devstack.process import REPOSITORY, Part
from devstack.temporal import is_polled_by
from ticketing.event_loops import run
from ticketing.garbage import tune_gc_after_startup
from ticketing.heartbeats import HeartbeatInterceptor
from ticketing.payloads import DATA_CONVERTER
from ticketing.statuses import OrderStatus
from worker import MAX_CACHED_ORDERS, workflow_runner
from workflows.orders import PAYMENT_SUBMITTED, OrderInput, OrderWorkflow, PaymentSubmitted

QUEUE = "floor"
INTENT = "pi_floor"


@activity.defn
async def reserve_ticket(input: ReserveTicket) -> Reservation:
    return Reservation(price=5000, currency="usd")


@activity.defn
async def begin_payment(input: BeginPayment) -> BegunPayment:
    return BegunPayment(True, OrderStatus.AWAITING_PAYMENT)


@activity.defn
async def authorize_payment(input: AuthorizePayment) -> PaymentState:
    return PaymentState(PaymentOutcome.AUTHORIZED, INTENT)


@activity.defn
async def capture_payment(input: AttemptedIntent) -> PaymentState:
    return PaymentState(PaymentOutcome.CAPTURED, INTENT)


@activity.defn
async def complete_order(input: CompleteOrder) -> None:
    pass


ACTIVITIES: Sequence[Callable[..., Any]] = (
    reserve_ticket,
    begin_payment,
    authorize_payment,
    capture_payment,
    complete_order,
)


class FloorBuyer:
    """Makes the calls to Temporal that the API makes for a purchase."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def buy(self, timings: Timings) -> None:
        """Reserve, then pay."""
        order_id = str(ObjectId())
        began = perf_counter()
        start = order_start(
            OrderInput(
                order_id=order_id,
                ticket_id=str(ObjectId()),
                buyer_id=str(ObjectId()),
                reservation_ttl=timedelta(minutes=15),
                payment_attempts=1,
                max_reservations=8,
            ),
            Offer(str(ObjectId()), 5000, "usd"),
            QUEUE,
        )
        await self._client.execute_update_with_start_workflow(
            OrderWorkflow.reserve, start_workflow_operation=start
        )
        reserved = perf_counter()
        handle = await start.workflow_handle()
        payment = PaymentSubmitted(str(ObjectId()), "pm_card_visa")
        await handle.signal(PAYMENT_SUBMITTED, payment)
        with suppress(RPCError):  # the workflow may be closed already
            await handle.execute_update(OrderWorkflow.await_payment_decision, payment.charge_id)
        timings.add(reserved - began, perf_counter() - reserved)


async def connect(address: str) -> Client:
    """A client with the application's data converter."""
    return await Client.connect(address, data_converter=DATA_CONVERTER)


@contextmanager
def floor_worker(address: str, directory: Path) -> Iterator[Part]:
    """Run the worker in a process during the block."""
    part = Part(
        name="floor",
        command=[sys.executable, "-m", "bench.floor", address],
        log=directory / "floor.log",
        is_ready=lambda: is_polled_by(address, QUEUE, part.pid),
        environ=os.environ,
        cwd=REPOSITORY,
    )
    part.start()
    try:
        part.wait_until_ready()
        yield part
    finally:
        part.stop()


async def main() -> None:
    """Run the worker until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        await connect(sys.argv[1]),
        task_queue=QUEUE,
        workflows=[OrderWorkflow],
        activities=ACTIVITIES,
        # As in worker.py.
        workflow_runner=workflow_runner(),
        interceptors=[HeartbeatInterceptor()],
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_cached_workflows=MAX_CACHED_ORDERS,
    ):
        tune_gc_after_startup()
        await stop.wait()


if __name__ == "__main__":
    run(main())
