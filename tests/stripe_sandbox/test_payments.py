"""Payments through the official client: the state machine and refunds."""

import asyncio
from typing import Any

import pytest
import stripe

from stripe_sandbox.testing import RunningSandbox
from tests.stripe_sandbox.client import CARD, error_of, pay


async def test_a_good_card_is_authorized_and_then_captured(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await pay(client, metadata={"order_id": "o1"})
    assert (intent.status, intent.amount_capturable, intent.amount_received) == (
        "requires_capture",
        2000,
        0,
    )
    charge = await client.charges.retrieve_async(intent.latest_charge)
    assert (charge.captured, charge.paid, charge.status) == (False, True, "succeeded")
    assert charge.metadata["order_id"] == "o1"

    captured = await client.payment_intents.capture_async(intent.id)
    assert (captured.status, captured.amount_capturable, captured.amount_received) == (
        "succeeded",
        0,
        2000,
    )
    charge = await client.charges.retrieve_async(intent.latest_charge)
    assert (charge.captured, charge.amount_captured) == (True, 2000)


async def test_an_automatic_payment_succeeds_at_once(client: Any) -> None:
    for method in ("automatic", "automatic_async"):
        intent = await pay(client, capture_method=method)
        assert (intent.status, intent.amount_received) == ("succeeded", 2000)


async def test_a_partial_capture_takes_that_much_and_releases_the_rest(client: Any) -> None:
    intent = await pay(client)
    captured = await client.payment_intents.capture_async(intent.id, {"amount_to_capture": 700})
    assert (captured.amount, captured.amount_received, captured.amount_capturable) == (2000, 700, 0)


async def test_more_than_was_authorized_cannot_be_captured(client: Any) -> None:
    intent = await pay(client)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.payment_intents.capture_async(intent.id, {"amount_to_capture": 2001})
    assert refused.value.code == "amount_too_large"


async def test_a_payment_goes_step_by_step_from_creation_to_confirmation(client: Any) -> None:
    intent = await client.payment_intents.create_async({"amount": 2000, "currency": "usd", **CARD})
    assert intent.status == "requires_payment_method"
    intent = await client.payment_intents.update_async(
        intent.id, {"payment_method": "pm_card_mastercard", "metadata": {"a": "1", "b": "2"}}
    )
    assert intent.status == "requires_confirmation"
    intent = await client.payment_intents.update_async(intent.id, {"metadata": {"a": ""}})
    assert intent.metadata.to_dict() == {"b": "2"}
    intent = await client.payment_intents.confirm_async(intent.id)
    assert intent.status == "succeeded"


@pytest.mark.parametrize(
    ("status", "params"),
    [
        ("requires_payment_method", {}),
        ("requires_confirmation", {"payment_method": "pm_card_visa"}),
        (
            "requires_action",
            {"payment_method": "pm_card_authenticationRequired", "confirm": True},
        ),
    ],
)
async def test_a_payment_that_is_not_authorized_can_be_cancelled(
    client: Any, sandbox: RunningSandbox, status: str, params: dict[str, Any]
) -> None:
    intent = await client.payment_intents.create_async(
        {"amount": 2000, "currency": "usd", **CARD, **params}
    )
    assert intent.status == status
    canceled = await client.payment_intents.cancel_async(
        intent.id, {"cancellation_reason": "abandoned"}
    )
    assert (canceled.status, canceled.cancellation_reason, canceled.next_action) == (
        "canceled",
        "abandoned",
        None,
    )
    assert canceled.canceled_at is not None
    assert sandbox.charges(intent.id) == []


async def test_cancelling_an_authorization_releases_the_charge(client: Any) -> None:
    intent = await pay(client)
    canceled = await client.payment_intents.cancel_async(intent.id)
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    charge = await client.charges.retrieve_async(intent.latest_charge)
    assert (charge.captured, charge.refunded, charge.amount_refunded) == (False, True, 2000)


async def test_a_captured_payment_can_neither_be_cancelled_nor_captured_again(client: Any) -> None:
    intent = await pay(client)
    await client.payment_intents.capture_async(intent.id)
    for refused in (client.payment_intents.cancel_async, client.payment_intents.capture_async):
        with pytest.raises(stripe.InvalidRequestError) as error:
            await refused(intent.id)
        assert error.value.http_status == 400
        assert error.value.code == "payment_intent_unexpected_state"
        assert error_of(error).payment_intent.status == "succeeded"


async def test_a_canceled_payment_cannot_be_captured_confirmed_or_canceled(
    client: Any,
) -> None:
    intent = await pay(client)
    await client.payment_intents.cancel_async(intent.id)
    service = client.payment_intents
    for refused in (service.cancel_async, service.capture_async, service.confirm_async):
        with pytest.raises(stripe.InvalidRequestError) as error:
            await refused(intent.id)
        assert error.value.code == "payment_intent_unexpected_state"
        assert error_of(error).payment_intent.status == "canceled"


async def test_an_authorized_payment_keeps_its_amount_but_not_its_metadata(client: Any) -> None:
    intent = await pay(client)
    with pytest.raises(stripe.InvalidRequestError) as error:
        await client.payment_intents.update_async(intent.id, {"amount": 3000})
    assert error.value.code == "payment_intent_unexpected_state"
    updated = await client.payment_intents.update_async(intent.id, {"metadata": {"seen": "yes"}})
    assert updated.metadata["seen"] == "yes"


@pytest.mark.parametrize("round", range(5))
async def test_of_a_capture_and_a_cancel_at_once_exactly_one_happens(
    client: Any, sandbox: RunningSandbox, round: int
) -> None:
    intent = await pay(client)
    calls = [
        client.payment_intents.capture_async(intent.id),
        client.payment_intents.cancel_async(intent.id),
    ]
    if round % 2:
        calls.reverse()
    answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    won = [answer for answer in answers if not isinstance(answer, Exception)]
    lost: list[Any] = [answer for answer in answers if isinstance(answer, Exception)]
    assert len(won) == len(lost) == 1
    assert lost[0].code == "payment_intent_unexpected_state"
    state = sandbox.payment_intent(intent.id)
    assert state["status"] == won[0].status
    assert state["amount_received"] == (2000 if won[0].status == "succeeded" else 0)


async def test_a_refund_gives_back_a_part_then_the_rest_then_nothing(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await pay(client, capture_method="automatic")
    first = await client.refunds.create_async(
        {"payment_intent": intent.id, "amount": 500, "reason": "requested_by_customer"}
    )
    assert (first.amount, first.status, first.charge) == (500, "succeeded", intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await client.refunds.create_async({"payment_intent": intent.id, "amount": 1501})
    rest = await client.refunds.create_async({"charge": intent.latest_charge})
    assert rest.amount == 1500
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    listed = await client.refunds.list_async({"payment_intent": intent.id})
    assert [refund.id for refund in listed.data] == [rest.id, first.id]
    charge = await client.charges.retrieve_async(intent.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 2000)
    assert sandbox.summary()[0]["refunded"] == 2000


@pytest.mark.parametrize("cancel", [False, True])
async def test_what_was_never_captured_cannot_be_refunded(client: Any, cancel: bool) -> None:
    intent = await pay(client)
    if cancel:
        await client.payment_intents.cancel_async(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        await client.refunds.create_async({"payment_intent": intent.id})


async def test_a_pending_refund_counts_and_is_settled_later(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await pay(client, "pm_card_pendingRefund", capture_method="automatic")
    refund = await client.refunds.create_async({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    assert sandbox.summary()[0]["refunded"] == 2000

    sandbox.settle_refund(refund.id)

    settled = await client.refunds.retrieve_async(refund.id)
    assert settled.status == "succeeded"
    assert sandbox.events()[-1]["type"] == "refund.updated"


async def test_a_refund_that_fails_gives_the_merchant_the_money_again(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await pay(client, capture_method="automatic")
    refund = await client.refunds.create_async({"payment_intent": intent.id})

    sandbox.settle_refund(refund.id, succeeds=False)

    failed = await client.refunds.retrieve_async(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    charge = await client.charges.retrieve_async(intent.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (False, 0)
    assert sandbox.summary()[0]["refunded"] == 0
    assert [event["type"] for event in sandbox.events()[-2:]] == [
        "refund.updated",
        "refund.failed",
    ]
    with pytest.raises(ValueError, match="re_"):
        sandbox.settle_refund(refund.id)


async def test_a_disputed_payment_cannot_be_refunded(client: Any) -> None:
    intent = await pay(client, "pm_card_createDispute", capture_method="automatic")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
