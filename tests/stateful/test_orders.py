"""Whatever happens to orders, in whatever order.

Short and the same in every `make test-all`; `make properties` looks further (EXAMPLES, SEED).
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import Phase, settings
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import RULE_MARKER, run_state_machine_as_test
from pymongo import AsyncMongoClient
from temporalio import workflow

from activities import reservations
from activities.payments import PaymentOutcome, PaymentState
from tests.purchases import careless
from tests.stateful.machine import Orders
from ticketing.mongodb import BSONDocument, connect_mongodb
from ticketing.settings import MongoDBSettings
from workflows import WORKFLOWS
from workflows.orders import OrderInput, OrderState, OrderWorkflow

EXAMPLES = os.environ.get("EXAMPLES")

EVERY_RUN = settings(
    max_examples=20,
    stateful_step_count=15,
    derandomize=True,
    database=None,
    deadline=None,  # an example takes as long as its servers take
)
LONG_RUN = settings(
    EVERY_RUN, max_examples=int(EXAMPLES or 1), stateful_step_count=30, derandomize=False
)
CONTROL = settings(EVERY_RUN, max_examples=60, phases=[Phase.generate], report_multiple_bugs=False)
"""It has to be found; the smallest example is of no interest."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings(
        # temporalio's and asyncio's, where a worker is cut off in the middle of an activity.
        "ignore:Cannot find activity to cancel:UserWarning",
        "ignore:(?s).*ResourceWarning. unclosed <socket:pytest.PytestUnraisableExceptionWarning",
        "ignore:unclosed <socket:ResourceWarning",
    ),
]

RESERVING = ("list_ticket", "reserve", "reserve_all_at_once")
PAYING = ("pay", "authenticate", "cancel", "let_time_pass", "reserve")

Run = Callable[..., None]


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own, since a state machine is synchronous."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def mongo(
    portal: BlockingPortal, mongodb_settings: MongoDBSettings
) -> Iterator[AsyncMongoClient[BSONDocument]]:
    """A client that lives in that loop."""
    client = portal.call(connect_mongodb, mongodb_settings)
    yield client
    portal.call(client.drop_database, mongodb_settings.database)
    portal.call(client.close)


@pytest.fixture
def run(portal: BlockingPortal, mongo: AsyncMongoClient[BSONDocument]) -> Run:
    """Try whatever can happen to orders that these workflows carry out."""

    def run(workflows: list[type], settings: settings, orders: type[Orders] = Orders) -> None:
        machine = partial(orders, portal, mongo, workflows)
        run_state_machine_as_test(machine, settings=settings)  # type: ignore[arg-type] # any factory does

    return run


def orders_with_only(*rules: str) -> type[Orders]:
    """Orders to which nothing else can happen, so that a few examples are enough for a control."""
    every_rule = {name for name, member in vars(Orders).items() if hasattr(member, RULE_MARKER)}
    assert every_rule >= set(rules)
    return type("FewRules", (Orders,), dict.fromkeys(every_rule - set(rules)))


@contextmanager
def found_out() -> Iterator[None]:
    """Expect a broken promise; a race that is lost once may be won when it is tried again."""
    with pytest.raises((AssertionError, FlakyFailure)) as found:
        yield
    assert isinstance(found.value, AssertionError) or found.group_contains(AssertionError)


@pytest.mark.timeout(900)  # many stories, one after the other, on a machine that may be busy
def test_whatever_happens_nothing_is_sold_twice_and_nobody_pays_for_nothing(run: Run) -> None:
    run(WORKFLOWS, LONG_RUN if EXAMPLES else EVERY_RUN)


@workflow.defn(name="OrderWorkflow")
class ReleasesUnasked(OrderWorkflow):
    """A control: gives a payment up without asking Stripe how it stands."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    async def _give_up_intent(self, state: PaymentState) -> PaymentState:
        return PaymentState(PaymentOutcome.CANCELLED, state.intent_id)


def test_control_a_workflow_that_releases_on_an_unknown_answer_is_found_out(run: Run) -> None:
    with found_out():
        run([ReleasesUnasked], CONTROL, orders_with_only(*PAYING))


def test_control_a_reservation_that_looks_before_it_writes_is_found_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_looks = partial(asyncio.sleep, 0.05)
    monkeypatch.setattr(reservations, "lock_ticket", careless.reserve(everybody_looks))
    with found_out():
        run(WORKFLOWS, CONTROL, orders_with_only(*RESERVING))
