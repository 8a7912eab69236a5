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

from activities.reservations import Reservation
from tests.market import Market
from tests.replay.paths import PATHS, WorkflowPath, history_names, history_of
from worker import workflow_runner
from workflows import WORKFLOWS
from workflows.orders import PAYMENT_SUBMITTED, OrderInput, OrderState, OrderWorkflow

HISTORIES = Path(__file__).parent / "histories"


def recorded(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(file.stem, json.loads(file.read_text()))


def workflow_of(history: WorkflowHistory) -> str:
    """The type of the workflow whose history it is."""
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


def patches_of(history: WorkflowHistory) -> int:
    """How many patches the history has passed."""
    markers = [event.marker_recorded_event_attributes.marker_name for event in history.events]
    return markers.count("core_patch")


def was_paid(history: WorkflowHistory) -> bool:
    """Whether a payment was submitted."""
    signals = [event.workflow_execution_signaled_event_attributes for event in history.events]
    return PAYMENT_SUBMITTED in {signal.signal_name for signal in signals}


RECORDED = {file.stem: recorded(file) for file in sorted(HISTORIES.glob("*.json"))}
ORDERS = [name for name, history in RECORDED.items() if workflow_of(history) == "OrderWorkflow"]
PATCHED = {name for name in ORDERS if patches_of(RECORDED[name])}
"""The orders whose history carries a patch, or more of them."""
PAID = {name for name in ORDERS if was_paid(RECORDED[name])}
"""The orders that a buyer has tried to pay."""


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


async def test_control_without_its_patch_a_change_breaks_every_order_that_has_come_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workflow, "patched", lambda _: True)

    assert await broken_by(OrderWorkflow) == PAID


async def test_control_a_roll_back_breaks_the_orders_that_have_passed_a_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workflow, "patched", lambda _: False)

    assert await broken_by(OrderWorkflow) == PATCHED


@pytest.mark.parametrize("path", history_names().values(), ids=history_names())
async def test_what_is_done_today_can_be_replayed(market: Market, path: WorkflowPath) -> None:
    walked = await path(market)

    history = await history_of(walked)

    await replay(history)
    assert "client_secret" not in history.to_json()
    assert "_secret_" not in history.to_json()
