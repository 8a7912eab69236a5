"""Every path that a workflow can take, walked on real parts; their histories are kept.

A path has one history for each version of its workflow. A version is named after the newest
patch that it carries, and the first one has no name.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol

from temporalio.client import WorkflowHandle

from tests.market import Market, Purchase
from workflows.order import FINDS_BY_INTENT, OrderWorkflow, PaymentDecision


class Walked(Protocol):
    """What a path leaves behind: a workflow that comes to its end by itself."""

    @property
    def handle(self) -> WorkflowHandle[Any, Any]: ...


WorkflowPath = Callable[[Market], Awaitable[Walked]]


async def completed(market: Market) -> Purchase:
    purchase = await market.reserve()
    await purchase.pay()
    return purchase


async def expired(market: Market) -> Purchase:
    purchase = await market.reserve()
    await market.env.sleep(timedelta(minutes=16))
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
    await market.env.sleep(timedelta(minutes=16))
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
    first, second = await purchase.submit_payment(), await purchase.submit_payment()
    await purchase.decision(second)
    await purchase.decision(first)
    return purchase


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
    ],
}

VERSIONS: dict[type, str] = {OrderWorkflow: FINDS_BY_INTENT}
"""The newest patch of each workflow that has one."""


def history_names() -> dict[str, WorkflowPath]:
    """The name under which the history of each path, as it is walked today, is kept."""
    return {
        path.__name__ + (f"@{VERSIONS[workflow]}" if workflow in VERSIONS else ""): path
        for workflow, paths in PATHS.items()
        for path in paths
    }
