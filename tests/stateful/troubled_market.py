"""A market in which nothing can be relied on."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from beanie import PydanticObjectId
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities import build_activities
from activities.reservations import Reservation
from api.payments.webhooks import StripeWebhookService
from api.temporal.orders import OrderWorkflowClient
from api.temporal.refunds import RefundWorkflowClient
from stripe_sandbox.testing import running_sandbox
from stripe_sandbox.webhooks import sign
from tests.market import TTL, Market, Purchase
from tests.operators.poison import Raw, signal
from tests.resources import connected
from tests.timeskipping import time_skipping_server
from tests.waiting import eventually
from ticketing.models import DOCUMENT_MODELS, Ticket
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.webhooks import read_event
from ticketing.settings import StripeApiSettings
from ticketing.workflow_ids import order_workflow_id
from worker import workflow_runner
from workflows.orders import OrderInput, OrderWorkflow

TASK_QUEUE = "orders"
WORKERS = 3
PATIENCE_SECONDS = 50.0
WEBHOOK_SECRET = "whsec_of_the_properties"

WORKFLOW_TASK = "a workflow task"
AT_STRIPE = {
    "take_payment",
    "authorize_payment",
    "read_payment",
    "capture_payment",
    "cancel_payment_intent",
}
ENDS_OF_TASKS = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
}

LONGEST_BACKOFF = timedelta(seconds=31)
PAST_EVERY_DEADLINE = TTL + timedelta(minutes=5)


@dataclass
class TroubledMarket(Market):
    """A market whose workers come and go, and whose Stripe breaks."""

    mongo: AsyncMongoClient[BSONDocument]
    gateway: StripeGateway
    workflows: list[type]
    purchases: list[Purchase] = field(default_factory=list)
    is_stripe_down: bool = False
    _workers: list[Worker] = field(default_factory=list)
    _running: list[asyncio.Task[None]] = field(default_factory=list)
    _clock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    # --- workers and Stripe ---------------------------------------------------------------

    @property
    def is_attended(self) -> bool:
        """Whether workers carry orders out."""
        return bool(self._workers)

    async def start_workers(self) -> None:
        """New workers, which know of the orders only what their histories tell.

        They remember nothing from one step to the next: this server keeps an order for the
        worker that remembers it, even if that one has gone. Without a memory, a worker that is
        given a second order forgets the first in the middle of its step, so each takes one.
        """
        self._workers = [await self._worker() for _ in range(WORKERS)]
        self._running = [asyncio.create_task(worker.run()) for worker in self._workers]
        waiting, self._waiting = self._waiting, []
        await asyncio.gather(*waiting)

    async def _worker(self) -> Worker:
        # One connection each: Temporal takes two workers on one for a mistake.
        address = self.env.client.service_client.config.target_host
        client = await Client.connect(address, data_converter=pydantic_data_converter)
        return Worker(
            client,
            task_queue=self.task_queue,
            workflows=self.workflows,
            activities=build_activities(self.mongo, self.gateway, client),
            workflow_runner=workflow_runner(),
            max_cached_workflows=0,
            max_concurrent_workflow_tasks=1,
            max_concurrent_workflow_task_polls=1,
            graceful_shutdown_timeout=timedelta(0),
        )

    async def stop_workers(self) -> None:
        """Cut the workers off in the middle of whatever they do."""
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        await asyncio.gather(*self._running)
        self._running = []

    async def pass_time(self, duration: timedelta) -> None:
        """Let time pass; with no worker there, from when one is.

        The server skips no time while an order waits for a worker. So a deadline that passes
        without one is told to the next worker together with all that was sent meanwhile.
        """
        sleep = self._sleep(duration)
        if self.is_attended:
            await sleep
        else:
            self._waiting.append(asyncio.ensure_future(sleep))

    async def _sleep(self, duration: timedelta) -> None:
        async with self._clock:  # the server cannot count two who let it skip time
            await self.env.sleep(duration)

    async def mend_stripe(self) -> None:
        """Break nothing more, and let Temporal find out."""
        self.sandbox.clear_faults()
        self.is_stripe_down = False
        await self.pass_time(LONGEST_BACKOFF)

    # --- buyers ---------------------------------------------------------------------------

    async def seek(self, ticket: Ticket, attempts: int) -> Purchase:
        """Ask for the ticket; with no worker there, no answer is waited for."""
        ask = self.ask_for if self.is_attended else self._ask_in_vain
        purchase = await ask(ticket, attempts=attempts)
        self.purchases.append(purchase)
        return purchase

    async def _ask_in_vain(self, ticket: Ticket, *, attempts: int) -> Purchase:
        assert ticket.id is not None
        order_id = PydanticObjectId()
        handle = await self.env.client.start_workflow(
            OrderWorkflow.run,
            OrderInput(
                order_id=str(order_id),
                ticket_id=str(ticket.id),
                buyer_id=str(PydanticObjectId()),
                reservation_ttl=TTL,
                payment_attempts=attempts,
                max_reservations=8,
            ),
            id=order_workflow_id(str(order_id)),
            task_queue=self.task_queue,
        )
        return Purchase(order_id, ticket.id, Reservation(), handle)

    async def pay(self, purchase: Purchase, card: str) -> None:
        """Submit a payment, without waiting for what becomes of it."""
        with _unless_closed():
            await purchase.submit_payment(card)

    async def cancel(self, purchase: Purchase) -> None:
        """Ask for the order to be cancelled, which may be refused."""
        with _unless_closed(), suppress(WorkflowUpdateFailedError):
            await purchase.handle.start_update(
                OrderWorkflow.cancel, wait_for_stage=WorkflowUpdateStage.ACCEPTED
            )

    async def cancel_as_operator(self, purchase: Purchase) -> None:
        with _unless_closed():
            await purchase.handle.cancel()

    async def send(self, purchase: Purchase, name: str, inputs: tuple[Raw, ...]) -> None:
        """Send a signal with whatever was typed into it."""
        with _unless_closed():
            await signal(self.env.client, purchase.handle.id, name, inputs)

    async def press(self, purchase: Purchase, *, approve: bool) -> None:
        """Press a button on the bank's page, if there is one to press."""
        for charge in await purchase.charges():
            if charge.stripe_id is not None:
                with suppress(ValueError):  # the bank waits for nobody
                    self.authenticate(charge, approve=approve)

    async def pay_until_stripe_is_asked(self, purchase: Purchase, card: str) -> None:
        """Pay, and return while Stripe, which is slow this time, decides; or if nobody asks it."""
        asked_before = len(self.sandbox.requests)
        self.sandbox.set_fault("latency", delay_seconds=0.05)
        await self.pay(purchase, card)

        async def is_asking_stripe_or_at_rest() -> bool:
            return len(self.sandbox.requests) > asked_before or await self._is_at_rest(purchase)

        await eventually(is_asking_stripe_or_at_rest)

    # --- webhooks -------------------------------------------------------------------------

    async def deliver(self, event: dict[str, object], *, copies: int = 1) -> None:
        """Deliver one of Stripe's events, as often and as late as one likes."""
        payload = json.dumps(event)
        signature = sign(payload, WEBHOOK_SECRET, int(time.time()))
        read = read_event(payload.encode(), signature, SecretStr(WEBHOOK_SECRET))
        if read is not None:
            connection = connected(self.env.client)
            service = StripeWebhookService(
                OrderWorkflowClient(connection, self.task_queue),
                RefundWorkflowClient(connection, self.task_queue),
            )
            await asyncio.gather(*(service.take(read) for _ in range(copies)))

    # --- quiet ----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Wait until every order waits for somebody: a person, a worker, Stripe or the clock."""
        if self.is_attended:
            for purchase in self.purchases:
                comes_to_rest = partial(self._comes_to_rest, purchase)
                await eventually(comes_to_rest, PATIENCE_SECONDS)

    async def _comes_to_rest(self, purchase: Purchase) -> bool:
        if await self._is_at_rest(purchase):
            return True
        await self._sleep(timedelta(seconds=1))  # what is repeated waits for that
        return False

    async def _is_at_rest(self, purchase: Purchase) -> bool:
        """Whether nothing is under way but what waits for Stripe to come back.

        Read from the history: a query would wait for the worker that has just been lost.
        """
        under_way: dict[int, str] = {}
        for event in (await purchase.handle.fetch_history()).events:
            if event.HasField("activity_task_scheduled_event_attributes"):
                scheduled = event.activity_task_scheduled_event_attributes
                under_way[event.event_id] = scheduled.activity_type.name
            elif event.HasField("workflow_task_scheduled_event_attributes"):
                under_way[event.event_id] = WORKFLOW_TASK
            elif event.event_type in ENDS_OF_TASKS:
                attributes = getattr(event, event.WhichOneof("attributes") or "")
                under_way.pop(attributes.scheduled_event_id)
            elif event.HasField("workflow_execution_completed_event_attributes"):
                return True
        return set(under_way.values()) <= (AT_STRIPE if self.is_stripe_down else set())

    async def drain(self) -> None:
        """Let workers and Stripe be there and every deadline pass, until every order is closed."""
        if not self.is_attended:
            await self.start_workers()
        await self.mend_stripe()
        await self._sleep(PAST_EVERY_DEADLINE)
        async with asyncio.timeout(PATIENCE_SECONDS):
            for purchase in self.purchases:
                await purchase.handle.result()

    async def close(self) -> None:
        """Leave, whatever is still under way."""
        await self.stop_workers()
        for sleep in self._waiting:
            sleep.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        # An activity that was cut off while it connected leaves its socket to the collector.
        gc.collect()


@contextmanager
def _unless_closed() -> Iterator[None]:
    """Do without what a closed workflow refuses: it takes no messages any more."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


@asynccontextmanager
async def troubled_market(
    mongo: AsyncMongoClient[BSONDocument], workflows: list[type]
) -> AsyncIterator[TroubledMarket]:
    """An empty market with a clock, a Stripe and workers of its own."""
    async with AsyncExitStack() as stack:
        for document in DOCUMENT_MODELS:
            await document.get_pymongo_collection().delete_many({})
        env = await stack.enter_async_context(time_skipping_server())
        sandbox = await stack.enter_async_context(running_sandbox())
        gateway = StripeGateway(
            StripeApiSettings(api_key=SecretStr("sk_test_sandbox"), api_base=sandbox.url)
        )
        stack.push_async_callback(gateway.close)
        market = TroubledMarket(
            env=env,
            task_queue=TASK_QUEUE,
            sandbox=sandbox,
            mongo=mongo,
            gateway=gateway,
            workflows=workflows,
        )
        stack.push_async_callback(market.close)
        await market.start_workers()
        yield market
