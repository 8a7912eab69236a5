"""Orders in flight survive a new version of the code: recorded histories are replayed.

A failure here means that the change would break orders that are open while it is deployed.
Version it (docs/order-lifecycle.md says how); recording anew only hides it.
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
from tests.replay.paths import PATHS, OrderPath
from worker import workflow_runner
from workflows import WORKFLOWS
from workflows.order import OrderInput, OrderState, OrderWorkflow

HISTORIES = Path(__file__).parent / "histories"
RECORDED = sorted(HISTORIES.glob("*.json"))


def recorded(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"order:{file.stem}", json.loads(file.read_text()))


async def replay(history: WorkflowHistory, workflows: Sequence[type] = WORKFLOWS) -> None:
    replayer = Replayer(
        workflows=workflows,
        workflow_runner=workflow_runner(),
        data_converter=pydantic_data_converter,
    )
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
async def test_a_recorded_order_takes_the_same_path_again(file: Path) -> None:
    await replay(recorded(file))


def test_every_path_has_a_recorded_history() -> None:
    assert {file.stem for file in RECORDED} >= {path.__name__ for path in PATHS}


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


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
async def test_control_an_incompatible_change_is_caught_on_every_path(file: Path) -> None:
    with pytest.raises(NondeterminismError):
        await replay(recorded(file), [PausesBeforeItReserves])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_an_order_of_today_can_be_replayed(market: Market, path: OrderPath) -> None:
    purchase = await path(market)
    await purchase.handle.result()

    history = await purchase.handle.fetch_history()

    await replay(history)
    assert "client_secret" not in history.to_json()
    assert "_secret_" not in history.to_json()
