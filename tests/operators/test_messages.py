"""No message wedges a workflow: what cannot be read is dropped, and said to be."""

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus

from tests.market import Market, Purchase
from tests.operators.operator import Handle, Operator, market_of
from tests.operators.poison import POISON, UNKNOWN_CHARGE, Raw, signal, update
from tests.purchases.marketplace import Marketplace
from tests.waiting import eventually
from ticketing.statuses import OrderStatus
from workflows.orders import (
    PAYMENT_INTENT_CHANGED,
    PAYMENT_SUBMITTED,
    OrderInput,
    OrderState,
    OrderWorkflow,
    PaymentDecision,
    PaymentSubmitted,
)
from workflows.refunds import REFUND_CHANGED, REFUND_REQUESTED

SIGNALS = (PAYMENT_SUBMITTED, PAYMENT_INTENT_CHANGED, "unheard_of")

SHORT = {"no input", "no JSON at all", "wrong types", "bytes", "an unknown encoding", "two inputs"}
"""One of each kind; the others are long."""

poisoned = pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(inputs, id=name, marks=() if name in SHORT else pytest.mark.long)
        for name, inputs in POISON.items()
    ],
)


async def details_of(handle: Handle) -> str:
    """What the Web UI shows that the workflow is doing."""
    return str(await handle.query("__temporal_workflow_metadata"))


@poisoned
async def test_a_signal_that_cannot_be_read_is_dropped_and_said_to_be(
    market: Market, operator: Operator, inputs: tuple[Raw, ...]
) -> None:
    purchase = await market.reserve()
    for name in SIGNALS:
        await signal(market.env.client, purchase.handle.id, name, inputs)

    await operator.comes_to_rest(purchase.handle)

    assert "Dropped" in await details_of(purchase.handle)
    assert "please pay" not in await details_of(purchase.handle)
    assert await purchase.pay() is PaymentDecision.COMPLETED
    await purchase.is_completed()


@poisoned
async def test_an_update_that_cannot_be_read_changes_nothing(
    market: Market, operator: Operator, inputs: tuple[Raw, ...]
) -> None:
    purchase, other = await market.reserve(), await market.reserve()
    for name in ("await_payment_decision", "unheard_of"):
        assert await update(market.env.client, purchase.handle.id, name, inputs)
    # These take no input; one that can be read is no reason to refuse them.
    await update(market.env.client, purchase.handle.id, "reserve", inputs)
    is_refused = await update(market.env.client, other.handle.id, "cancel", inputs)

    assert await purchase.pay() is PaymentDecision.COMPLETED
    await operator.comes_to_rest(other.handle)
    status = OrderStatus.CREATED if is_refused else OrderStatus.CANCELLED
    assert (await other.order()).status is status


@poisoned
async def test_a_refund_drops_what_it_cannot_read(
    market: Market, operator: Operator, inputs: tuple[Raw, ...]
) -> None:
    purchase = await market.sell("pm_card_pendingRefund")
    refund = await market.refund(purchase)
    await market.waits_for_stripe(purchase)
    for name in (REFUND_REQUESTED, REFUND_CHANGED, "unheard_of"):
        await signal(market.env.client, refund.id, name, inputs)

    await operator.comes_to_rest(refund)
    assert "Dropped" in await details_of(refund)
    (pending,) = await market.refunds_of(purchase)
    market.sandbox.settle_refund(pending["id"])
    await market.report_refund_change(purchase)

    await purchase.is_refunded((await refund.result()).refund_id)


async def test_a_payment_with_a_charge_of_another_order_is_judged_once(
    market: Market, operator: Operator
) -> None:
    other = await market.sell()
    (charge,) = await other.charges()
    assert charge.id is not None
    purchase = await market.reserve()

    await purchase.submit_payment(charge_id=charge.id)
    await operator.comes_to_rest(purchase.handle)

    assert (await purchase.order()).status is OrderStatus.CREATED
    assert await purchase.pay() is PaymentDecision.COMPLETED
    await operator.nobody_paid_for_nothing()


async def test_a_payment_sent_by_hand_is_taken(market: Market, operator: Operator) -> None:
    purchase = await market.reserve()

    await signal(market.env.client, purchase.handle.id, PAYMENT_SUBMITTED, (Raw(UNKNOWN_CHARGE),))

    await purchase.handle.result()
    await purchase.is_completed()
    await operator.nobody_paid_for_nothing()


async def test_an_order_that_was_deleted_by_hand_does_not_keep_its_workflow(
    market: Market, operator: Operator
) -> None:
    paying, idle = await market.reserve(), await market.reserve()
    for purchase in (paying, idle):
        await (await purchase.order()).delete()

    await paying.submit_payment()
    await idle.handle.cancel()

    for purchase in (paying, idle):
        await purchase.handle.result()
    await operator.nobody_paid_for_nothing()


@workflow.defn(name="OrderWorkflow")
class TakesTypedSignals(OrderWorkflow):
    """A control: the handler as it is usually written."""

    @workflow.init
    def __init__(self, input: OrderInput) -> None:
        super().__init__(input)

    @workflow.run
    async def run(self, input: OrderInput) -> OrderState:
        return await super().run(input)

    @workflow.signal
    def payment_submitted(self, payment: PaymentSubmitted) -> None:
        self._on_payment_submitted(payment)


async def test_control_a_typed_handler_without_its_input_wedges_the_order(
    idle_market: Marketplace,
) -> None:
    market = market_of(idle_market)
    async with idle_market.working([TakesTypedSignals]):
        purchase: Purchase = await market.reserve()

        await signal(market.env.client, purchase.handle.id, PAYMENT_SUBMITTED, ())

        async def fails_again_and_again() -> bool:
            found = await purchase.handle.describe()
            assert found.status is WorkflowExecutionStatus.RUNNING
            return bool(found.raw_description.pending_workflow_task.attempt > 1)

        await eventually(fails_again_and_again)
        await purchase.handle.terminate()
