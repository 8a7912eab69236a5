"""What the gateway makes of Stripe's answers, spoken to through the official client."""

import asyncio
import logging

import pytest
from pydantic import SecretStr

from stripe_sandbox.testing import RunningSandbox, stripe_client
from tests.waiting import eventually
from ticketing.clock import utc_now
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import (
    IntentStatus,
    PaymentIntent,
    PaymentOutcomeUnknown,
    PaymentRefused,
)
from ticketing.payments.refunds import IntentRefunds, RefundStatus
from ticketing.settings import StripeApiSettings


async def authorize(
    gateway: StripeGateway, card: str = "pm_card_visa", *, key: str = "order:1:attempt:1:authorize"
) -> PaymentIntent:
    return await gateway.authorize(
        order_id="1",
        attempt=1,
        amount=2500,
        currency="usd",
        payment_method=card,
        begun_at=utc_now(),
        idempotency_key=key,
    )


async def test_an_authorized_intent_has_moved_no_money(gateway: StripeGateway) -> None:
    intent = await authorize(gateway)

    assert (intent.status, intent.amount, intent.amount_received) == (
        IntentStatus.REQUIRES_CAPTURE,
        2500,
        0,
    )


async def test_more_payments_than_httpx_has_connections_wait_for_slow_banks_at_once(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    many = 120  # httpx's own maximum is 100
    sandbox.set_fault("held", path="/v1/payment_intents", times=None)
    paying = [asyncio.create_task(authorize(gateway, key=f"order:{n}")) for n in range(many)]
    try:
        await eventually(lambda: sandbox.count("POST", "/v1/payment_intents") == many)
    finally:
        sandbox.clear_faults()
    assert {intent.status for intent in await asyncio.gather(*paying)} == {
        IntentStatus.REQUIRES_CAPTURE
    }


async def test_a_decline_is_an_answer_with_the_banks_reason(gateway: StripeGateway) -> None:
    intent = await authorize(gateway, "pm_card_chargeDeclinedInsufficientFunds")

    assert intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
    assert intent.failure_code == "insufficient_funds"


async def test_a_decline_without_a_banks_reason_has_stripes(gateway: StripeGateway) -> None:
    assert (await authorize(gateway, "pm_card_chargeDeclinedExpiredCard")).failure_code == (
        "expired_card"
    )


async def test_a_failure_without_any_code_has_stripes_kind_of_error(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    declined = await authorize(gateway, "pm_card_chargeDeclined")
    stored = sandbox.ledger.find("payment_intent", declined.id)
    assert stored is not None
    stored.body["last_payment_error"] = {"type": "api_error", "message": "It went wrong."}
    sandbox.ledger.update(stored)

    assert (await gateway.read(declined.id)).failure_code == "api_error"


async def test_an_unknown_payment_method_is_a_definite_no(gateway: StripeGateway) -> None:
    with pytest.raises(PaymentRefused) as refused:
        await authorize(gateway, "pm_unheard_of")

    assert refused.value.code == "resource_missing"


async def test_a_wrong_api_key_leaves_the_outcome_unknown(sandbox: RunningSandbox) -> None:
    gateway = StripeGateway(StripeApiSettings(api_key=SecretStr("sk_bogus"), api_base=sandbox.url))

    with pytest.raises(PaymentOutcomeUnknown, match="AuthenticationError"):
        await authorize(gateway)

    await gateway.close()


async def test_an_intent_is_captured_once_whatever_keys_ask_for_it(gateway: StripeGateway) -> None:
    intent = await authorize(gateway)

    for key in ("capture", "capture", "another capture"):
        captured = await gateway.capture(intent.id, idempotency_key=key)
        assert (captured.status, captured.amount_received) == (IntentStatus.SUCCEEDED, 2500)


async def test_a_captured_intent_cannot_be_canceled_and_says_so(gateway: StripeGateway) -> None:
    intent = await authorize(gateway)
    await gateway.capture(intent.id, idempotency_key="capture")

    after = await gateway.cancel(intent.id, idempotency_key="cancel")

    assert after.status is IntentStatus.SUCCEEDED


async def test_a_canceled_intent_cannot_be_captured_and_says_so(gateway: StripeGateway) -> None:
    intent = await authorize(gateway)
    await gateway.cancel(intent.id, idempotency_key="cancel")

    after = await gateway.capture(intent.id, idempotency_key="capture")

    assert (after.status, after.amount_received) == (IntentStatus.CANCELED, 0)


async def test_the_client_asks_once_and_leaves_retries_to_temporal(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    sandbox.set_fault("error", times=None)

    with pytest.raises(PaymentOutcomeUnknown):
        await authorize(gateway)

    assert sandbox.count("POST", "/v1/payment_intents") == 1


async def test_an_intent_made_before_stripe_lost_its_answer_is_found_again(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    made = await authorize(gateway)
    sandbox.set_fault("error_stored", path="/v1/payment_intents", times=1)
    with pytest.raises(PaymentOutcomeUnknown):
        await authorize(gateway, key="a second key whose answer is stored as a failure")

    found = await authorize(gateway, key="a second key whose answer is stored as a failure")

    assert found.id == made.id
    assert len(sandbox.payment_intents()) == 1


async def test_a_look_that_failed_is_made_up_for_before_the_next_key_is_used(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    made = await authorize(gateway)
    key = "a second key whose answer is stored as a failure"
    sandbox.set_fault("error_stored", method="POST", path="/v1/payment_intents")
    with pytest.raises(PaymentOutcomeUnknown):
        await authorize(gateway, key=key)
    sandbox.set_fault("error", method="GET", path="/v1/payment_intents")
    with pytest.raises(PaymentOutcomeUnknown):
        await authorize(gateway, key=key)

    assert (await authorize(gateway, key=key)).id == made.id
    assert len(sandbox.payment_intents()) == 1


async def test_a_long_outage_of_stored_failures_uses_up_neither_keys_nor_patience(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    outage = 30
    sandbox.set_fault("error_stored", method="POST", path="/v1/payment_intents", times=None)
    for _ in range(outage):
        with pytest.raises(PaymentOutcomeUnknown):
            await authorize(gateway)
    sandbox.clear_faults()

    await authorize(gateway)

    assert len(sandbox.payment_intents()) == 1
    # Each try asks under the key of the one before, and then under its own.
    assert sandbox.count("POST", "/v1/payment_intents") == 2 * outage + 1


async def test_an_intent_of_many_is_found_again_when_its_key_was_used_in_other_words(
    gateway: StripeGateway,
) -> None:
    made = await authorize(gateway)
    for number in range(2, 104):
        await gateway.authorize(
            order_id=str(number),
            attempt=1,
            amount=2500,
            currency="usd",
            payment_method="pm_card_visa",
            begun_at=utc_now(),
            idempotency_key=f"order:{number}",
        )

    found = await authorize(gateway, "pm_card_mastercard")

    assert found == made


async def test_no_error_carries_a_secret(
    gateway: StripeGateway, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    intent = await authorize(gateway, "pm_card_authenticationRequired")
    assert intent.client_secret is not None
    sandbox.set_fault("error", times=None)
    with pytest.raises(PaymentOutcomeUnknown) as unknown:
        await gateway.read(intent.id)

    said = f"{intent!r} {unknown.value!r} {unknown.value.__cause__!r} {gateway!r}"
    assert intent.client_secret not in said
    assert "sk_test_sandbox" not in said
    assert "sk_test_sandbox" not in caplog.text


async def pay(gateway: StripeGateway, card: str = "pm_card_visa") -> str:
    """The id of an intent whose 2500 have been captured."""
    intent = await authorize(gateway, card)
    return (await gateway.capture(intent.id, idempotency_key="order:1:capture")).id


async def refund(gateway: StripeGateway, intent_id: str, *, ask: int = 1) -> IntentRefunds:
    key = "order:1:refund"
    return await gateway.refund(intent_id, idempotency_key=key, later_key=f"{key}:{ask}")


async def test_a_refund_gives_back_all_that_was_captured(gateway: StripeGateway) -> None:
    refunds = await refund(gateway, await pay(gateway))

    assert (refunds.captured, refunds.left) == (2500, 0)
    assert [(r.status, r.amount, r.reason) for r in refunds.refunds] == [
        (RefundStatus.SUCCEEDED, 2500, None)
    ]


async def test_a_refund_gives_back_the_rest_of_what_went_back_in_part(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent_id = await pay(gateway)
    async with stripe_client(sandbox.url) as dashboard:
        await dashboard.v1.refunds.create_async({"payment_intent": intent_id, "amount": 400})

    refunds = await refund(gateway, intent_id)

    assert [r.amount for r in refunds.refunds] == [2100, 400]


async def test_what_was_refunded_before_is_not_asked_for(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent_id = await pay(gateway)
    async with stripe_client(sandbox.url) as dashboard:
        made = await dashboard.v1.refunds.create_async({"payment_intent": intent_id})

    refunds = await refund(gateway, intent_id)

    assert [r.id for r in refunds.refunds] == [made.id]
    assert sandbox.count("POST", "/v1/refunds") == 1


async def test_an_authorization_that_was_given_up_has_nothing_to_refund(
    gateway: StripeGateway,
) -> None:
    intent = await authorize(gateway)
    await gateway.cancel(intent.id, idempotency_key="cancel")

    assert await refund(gateway, intent.id) == IntentRefunds(captured=0, refunds=())


@pytest.mark.parametrize("fault", ["lost_request", "error", "rate_limited"])
async def test_a_refund_without_an_answer_is_unknown_and_made_once_when_asked_again(
    gateway: StripeGateway, sandbox: RunningSandbox, fault: str
) -> None:
    intent_id = await pay(gateway)
    sandbox.set_fault(fault, method="POST", path="/v1/refunds")

    with pytest.raises(PaymentOutcomeUnknown):
        await refund(gateway, intent_id)

    assert len((await refund(gateway, intent_id)).refunds) == 1


async def test_a_failure_that_stripe_stored_under_the_refunds_key_is_passed_by(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent_id = await pay(gateway)
    sandbox.set_fault("error_stored", method="POST", path="/v1/refunds")
    with pytest.raises(PaymentOutcomeUnknown):
        await refund(gateway, intent_id)

    refunds = await refund(gateway, intent_id)

    assert (len(refunds.refunds), refunds.left) == (1, 0)


async def test_a_no_is_stripes_answer_until_it_is_asked_anew(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent_id = await pay(gateway)
    sandbox.set_fault("balance_short", method="POST", path="/v1/refunds", times=None)
    for ask in (1, 2):
        with pytest.raises(PaymentRefused) as refused:
            await refund(gateway, intent_id, ask=ask)
        assert refused.value.code == "balance_insufficient"
    sandbox.clear_faults()

    assert (await refund(gateway, intent_id, ask=3)).left == 0


async def test_control_under_one_key_a_short_balance_would_last_for_a_day(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent_id = await pay(gateway)
    sandbox.set_fault("balance_short", method="POST", path="/v1/refunds")

    for _ in range(2):
        with pytest.raises(PaymentRefused, match="balance_insufficient"):
            await gateway.refund(intent_id, idempotency_key="one", later_key="one")


async def test_a_refund_that_failed_is_made_anew(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent_id = await pay(gateway, "pm_card_pendingRefund")
    (pending,) = (await refund(gateway, intent_id)).refunds
    assert (pending.status, pending.reason) == (RefundStatus.PENDING, "processing")
    sandbox.settle_refund(pending.id, succeeds=False)

    refunds = await refund(gateway, intent_id, ask=2)

    newest, failed = refunds.refunds
    assert (failed.id, failed.status) == (pending.id, RefundStatus.FAILED)
    assert (newest.status, newest.amount, refunds.left) == (RefundStatus.PENDING, 2500, 0)


async def test_a_disputed_charge_is_refused_with_stripes_code(gateway: StripeGateway) -> None:
    intent_id = await pay(gateway, "pm_card_createDispute")

    with pytest.raises(PaymentRefused) as refused:
        await refund(gateway, intent_id)

    assert refused.value.code == "charge_disputed"


CAPTURES = "/v1/payment_intents/*/capture"


async def test_a_no_that_stripe_repeats_is_asked_for_anew(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent = await authorize(gateway)
    sandbox.set_fault("refused", method="POST", path=CAPTURES)
    with pytest.raises(PaymentRefused):
        await gateway.capture(intent.id, idempotency_key="capture")

    captured = await gateway.capture(intent.id, idempotency_key="capture")

    assert (captured.status, captured.amount_received) == (IntentStatus.SUCCEEDED, 2500)
    assert [key for _, path, key in sandbox.requests if path.endswith("/capture")] == [
        "capture",
        "capture",
        "capture:2",
    ]


async def test_a_repeated_no_to_an_authorization_makes_one_intent(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    sandbox.set_fault("refused", method="POST", path="/v1/payment_intents")
    with pytest.raises(PaymentRefused):
        await authorize(gateway)

    made = await authorize(gateway)

    assert made.status is IntentStatus.REQUIRES_CAPTURE
    assert len(sandbox.payment_intents()) == 1


async def test_a_no_that_is_given_anew_is_told_as_one(
    gateway: StripeGateway, sandbox: RunningSandbox
) -> None:
    intent = await authorize(gateway)
    sandbox.set_fault("refused", method="POST", path=CAPTURES, times=None)

    for _ in range(3):
        with pytest.raises(PaymentRefused):
            await gateway.capture(intent.id, idempotency_key="capture")

    assert (await gateway.read(intent.id)).status is IntentStatus.REQUIRES_CAPTURE
