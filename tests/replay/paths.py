"""Every path that a workflow can take, walked on real parts; their histories are kept.

A path has one history for each version of its workflow that orders may be open under. A version
is named after the newest patch that it carries, and the first one has no name: of that, two
histories are kept as the example of docs/changing-workflows.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from beanie import Document
from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowUpdateStage,
)

from tests.market import Market, Purchase, RefundHandle
from workflows.orders import (
    TAKES_PAYMENT_AT_ONCE,
    OrderWorkflow,
    PaymentDecision,
)
from workflows.refunds import RefundWorkflow
from workflows.steps import LOCAL_ACTIVITY_TIMEOUT


class Walked(Protocol):
    """What a path leaves behind: a workflow that comes to its end by itself."""

    @property
    def handle(self) -> WorkflowHandle[Any, Any]: ...


@dataclass(frozen=True)
class Refunding:
    """A refund, done or refused."""

    handle: RefundHandle


WorkflowPath = Callable[[Market], Awaitable[Walked]]


async def completed(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.pay()
    return purchase


async def expired(market: Market) -> Purchase:
    purchase = await market.reserve()
    await market.pass_deadline()
    return purchase


async def refused(market: Market) -> Purchase:
    holder = await market.reserve()
    return await market.ask_for(await holder.ticket())


async def cancelled_by_its_buyer(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.cancel()
    return purchase


async def cancelled_by_an_operator(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.handle.cancel()
    return purchase


async def declined(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.pay("pm_card_chargeDeclined")
    return purchase


async def refused_by_stripe(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.pay("pm_unheard_of")
    return purchase


async def completed_with_a_second_card(market: Market) -> Purchase:
    purchase = await market.reserve(attempts=2)
    await purchase.pay("pm_card_chargeDeclined")
    await purchase.pay()
    return purchase


async def completed_after_authentication(market: Market) -> Purchase:
    purchase = await _authenticating(market)
    await _press(market, purchase, approve=True)
    return purchase


async def refused_authentication(market: Market) -> Purchase:
    purchase = await _authenticating(market)
    await _press(market, purchase, approve=False)
    return purchase


async def abandoned_authentication(market: Market) -> Purchase:
    purchase = await _authenticating(market)
    await market.pass_deadline()
    return purchase


async def cancelled_during_authentication(market: Market) -> Purchase:
    purchase = await _authenticating(market)
    await purchase.cancel()
    return purchase


async def completed_after_lost_answers(market: Market) -> Purchase:
    purchase = await market.reserve()
    for path in ("/v1/payment_intents", "/v1/payment_intents/*/capture"):
        market.sandbox.set_fault("lost_answer", method="POST", path=path)
    await purchase.pay()
    return purchase


async def two_payments_at_once(market: Market) -> Purchase:
    purchase = await market.reserve()
    market.sandbox.set_fault("held", path="/v1/payment_intents")
    first, second = await purchase.submit_payment(), await purchase.submit_payment()
    await purchase.decision(second)
    deciding = await purchase.handle.start_update(
        OrderWorkflow.await_payment_decision,
        str(first),
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
    )
    market.sandbox.clear_faults()
    await deciding.result()
    return purchase


async def completed_while_mongodb_was_slow(market: Market) -> Purchase:
    purchase = await market.reserve()
    async with locked(await purchase.order()):
        charge_id = await purchase.submit_payment()
        deciding = asyncio.create_task(purchase.decision(charge_id))
        await asyncio.wait([deciding], timeout=LOCAL_ACTIVITY_TIMEOUT.total_seconds() + 1)
    assert await deciding is PaymentDecision.COMPLETED
    return purchase


async def refunded(market: Market) -> Refunding:
    purchase = await market.sell()
    return Refunding(await market.refund(purchase))


async def refunded_and_relisted(market: Market) -> Refunding:
    purchase = await market.sell()
    return Refunding(await market.refund(purchase, relist=True))


async def refunded_after_lost_answers(market: Market) -> Refunding:
    purchase = await market.sell()
    market.sandbox.set_fault("lost_answer", path="/v1/refunds", times=2)
    return Refunding(await market.refund(purchase))


async def refunded_after_a_short_balance(market: Market) -> Refunding:
    purchase = await market.sell()
    market.sandbox.set_fault("balance_short", method="POST", path="/v1/refunds")
    return Refunding(await market.refund(purchase))


async def refunded_after_pending(market: Market) -> Refunding:
    return await _settled(market, succeeds=True)


async def refund_that_failed(market: Market) -> Refunding:
    return await _settled(market, succeeds=False)


async def refund_refused(market: Market) -> Refunding:
    purchase = await market.sell("pm_card_createDispute")
    return Refunding(await market.refund(purchase))


async def refund_given_up_by_an_operator(market: Market) -> Refunding:
    purchase = await market.sell()
    market.sandbox.set_fault("balance_short", method="POST", path="/v1/refunds", times=None)
    refund = await market.refund(purchase)
    await market.waits_for_stripe(purchase)
    await refund.cancel()
    return Refunding(refund)


async def refund_made_at_stripe(market: Market) -> Refunding:
    purchase = await market.sell()
    await market.refund_at_stripe(purchase)
    return Refunding(await market.report_refund_change(purchase))


async def refunded_in_part_at_stripe(market: Market) -> Refunding:
    purchase = await market.sell()
    await market.refund_at_stripe(purchase, amount=1000)
    return Refunding(await market.report_refund_change(purchase))


async def refund_of_an_unpaid_order(market: Market) -> Refunding:
    purchase = await market.reserve()
    await purchase.cancel()
    return Refunding(await market.refund(purchase))


async def _settled(market: Market, *, succeeds: bool) -> Refunding:
    purchase = await market.sell("pm_card_pendingRefund")
    await market.refund(purchase)
    await market.waits_for_stripe(purchase)
    (pending,) = await market.refunds_of(purchase)
    market.sandbox.settle_refund(pending["id"], succeeds=succeeds)
    return Refunding(await market.report_refund_change(purchase))


@asynccontextmanager
async def locked(document: Document) -> AsyncIterator[None]:
    """Keep everybody else from writing the document, as a transaction that hangs does."""
    collection = document.get_pymongo_collection()
    async with (
        collection.database.client.start_session() as session,
        await session.start_transaction(),
    ):
        lock = {"$set": {"locked": True}}
        await collection.update_one({"_id": document.id}, lock, session=session)
        yield
        await session.abort_transaction()


async def _authenticating(market: Market) -> Purchase:
    purchase = await market.reserve()
    decision = await purchase.pay("pm_card_authenticationRequired")
    assert decision is PaymentDecision.AUTHENTICATION_REQUIRED
    return purchase


async def _press(market: Market, purchase: Purchase, *, approve: bool) -> None:
    (charge,) = await purchase.charges()
    market.authenticate(charge, approve=approve)
    await purchase.report_intent_change()


PATHS: dict[type, list[WorkflowPath]] = {
    OrderWorkflow: [
        completed,
        expired,
        refused,
        cancelled_by_its_buyer,
        cancelled_by_an_operator,
        declined,
        refused_by_stripe,
        completed_with_a_second_card,
        completed_after_authentication,
        refused_authentication,
        abandoned_authentication,
        cancelled_during_authentication,
        completed_after_lost_answers,
        two_payments_at_once,
        completed_while_mongodb_was_slow,
    ],
    RefundWorkflow: [
        refunded,
        refunded_and_relisted,
        refunded_after_lost_answers,
        refunded_after_a_short_balance,
        refunded_after_pending,
        refund_that_failed,
        refund_refused,
        refund_given_up_by_an_operator,
        refund_made_at_stripe,
        refunded_in_part_at_stripe,
        refund_of_an_unpaid_order,
    ],
}

VERSIONS: dict[type, str] = {OrderWorkflow: TAKES_PAYMENT_AT_ONCE}
"""The newest patch of each workflow that has one."""


def history_names() -> dict[str, WorkflowPath]:
    """The name under which the history of each path, as it is walked today, is kept."""
    return {
        path.__name__ + (f"@{VERSIONS[workflow]}" if workflow in VERSIONS else ""): path
        for workflow, paths in PATHS.items()
        for path in paths
    }


async def history_of(walked: Walked) -> WorkflowHistory:
    """What Temporal has recorded of a workflow when it has come to its end, good or bad."""
    with suppress(WorkflowFailureError):
        await walked.handle.result()
    return await walked.handle.fetch_history()
