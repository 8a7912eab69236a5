"""What is in flight survives a new version of the code: recorded histories are replayed.

A failure here means that the change would break workflows that are open while it is deployed.
Version it (docs/changing-workflows.md says how); recording anew only hides it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from activities.payments import PaymentState
from activities.reservations import Reservation
from tests.market import Market
from tests.replay.paths import PATHS, WorkflowPath, history_names, history_of
from worker import workflow_runner
from workflows import WORKFLOWS
from workflows.orders import OrderInput, OrderState, OrderWorkflow
from workflows.search_attributes import PAYMENT_INTENT_ID

HISTORIES = Path(__file__).parent / "histories"


def recorded(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(file.stem, json.loads(file.read_text()))


def workflow_of(history: WorkflowHistory) -> str:
    """The type of the workflow whose history it is."""
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


RECORDED = {file.stem: recorded(file) for file in sorted(HISTORIES.glob("*.json"))}
ORDERS = [name for name, history in RECORDED.items() if workflow_of(history) == "OrderWorkflow"]
WITHOUT_INTENT = {
    "refused",
    "expired",
    "cancelled_by_its_buyer",
    "cancelled_by_an_operator",
    "refused_by_stripe",
    "abandoned_while_mongodb_was_slow",  # a race of two timers: recorded, and walked no more
}
"""The paths on which Stripe makes no payment intent."""
WITH_INTENT = {name for name in ORDERS if name.partition("@")[0] not in WITHOUT_INTENT}
PATCHED = {name for name in WITH_INTENT if "@" in name}


async def replay(history: WorkflowHistory, workflows: Sequence[type] = WORKFLOWS) -> None:
    replayer = Replayer(
        workflows=workflows,
        workflow_runner=workflow_runner(),
        data_converter=pydantic_data_converter,
    )
    await replayer.replay_workflow(history)


async def broken_by(workflow: type) -> set[str]:
    """The recorded orders that the given implementation could not carry on."""
    broken = set()
    for name in ORDERS:
        try:
            await replay(RECORDED[name], [workflow])
        except NondeterminismError:
            broken.add(name)
    return broken


@pytest.mark.parametrize("name", RECORDED)
async def test_what_was_recorded_takes_the_same_path_again(name: str) -> None:
    await replay(RECORDED[name])


def test_every_path_has_a_history_of_todays_version() -> None:
    assert RECORDED.keys() >= history_names().keys()


def test_no_two_workflows_have_a_path_of_the_same_name() -> None:
    assert len(history_names()) == sum(map(len, PATHS.values()))


@workflow.defn(name="OrderWorkflow")
class PausesBeforeItReserves(OrderWorkflow):
    """A control: an innocent-looking change that breaks every order in flight."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    async def _reserve(self) -> Reservation:
        await workflow.sleep(1)
        return await super()._reserve()


async def test_control_an_incompatible_change_is_caught_on_every_path() -> None:
    assert await broken_by(PausesBeforeItReserves) == set(ORDERS)


@workflow.defn(name="OrderWorkflow")
class NotesTheIntentWithoutAPatch(OrderWorkflow):
    """A control: a change that was really made, without what made it safe."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    def _index_payment_intent(self, state: PaymentState) -> None:
        if state.intent_id is not None:
            workflow.upsert_search_attributes([PAYMENT_INTENT_ID.value_set(state.intent_id)])


async def test_control_without_its_patch_the_change_breaks_every_order_that_it_touches() -> None:
    assert await broken_by(NotesTheIntentWithoutAPatch) == WITH_INTENT


@workflow.defn(name="OrderWorkflow")
class RolledBack(OrderWorkflow):
    """A control: the version of before the change, deployed again after it."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    def _index_payment_intent(self, state: PaymentState) -> None:
        pass


async def test_control_a_roll_back_breaks_the_orders_that_have_passed_the_patch() -> None:
    assert await broken_by(RolledBack) == PATCHED


@pytest.mark.parametrize("path", history_names().values(), ids=history_names())
async def test_what_is_done_today_can_be_replayed(market: Market, path: WorkflowPath) -> None:
    walked = await path(market)

    history = await history_of(walked)

    await replay(history)
    assert "client_secret" not in history.to_json()
    assert "_secret_" not in history.to_json()
