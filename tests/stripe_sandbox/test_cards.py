"""The test cards: declines, authentication, and details that are wrong."""

from typing import Any

import pytest
import stripe

from stripe_sandbox.testing import RunningSandbox
from tests.stripe_sandbox.client import CARD, card, error_of, pay

DECLINES = [
    ("", "4000000000000002", "card_declined", "generic_decline"),
    ("InsufficientFunds", "4000000000009995", "card_declined", "insufficient_funds"),
    ("LostCard", "4000000000009987", "card_declined", "lost_card"),
    ("StolenCard", "4000000000009979", "card_declined", "stolen_card"),
    ("ExpiredCard", "4000000000000069", "expired_card", None),
    ("IncorrectCvc", "4000000000000127", "incorrect_cvc", None),
    ("ProcessingError", "4000000000000119", "processing_error", None),
]


@pytest.mark.parametrize(("name", "number", "code", "decline_code"), DECLINES)
async def test_after_a_decline_the_payment_requires_another_method(
    client: Any,
    sandbox: RunningSandbox,
    name: str,
    number: str,
    code: str,
    decline_code: str | None,
) -> None:
    methods = [f"pm_card_chargeDeclined{name}", (await card(client, number)).id]
    for method in methods:
        with pytest.raises(stripe.CardError) as declined:
            await pay(client, method)
        error = error_of(declined)
        assert declined.value.http_status == 402
        assert (error.type, error.code) == ("card_error", code)
        assert getattr(error, "decline_code", None) == decline_code
        assert error.doc_url.endswith(code.replace("_", "-"))
        intent = error.payment_intent
        assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
        assert intent.last_payment_error.code == code
        assert intent.last_payment_error.payment_method.card.last4 == number[-4:]
        assert intent.latest_charge == error.charge
        assert [made["status"] for made in sandbox.charges(intent.id)] == ["failed"]


async def test_after_a_decline_another_card_pays_the_same_payment_intent(
    client: Any, sandbox: RunningSandbox
) -> None:
    with pytest.raises(stripe.CardError) as declined:
        await pay(client, "pm_card_chargeDeclined")
    id = error_of(declined).payment_intent.id
    intent = await client.payment_intents.confirm_async(id, {"payment_method": "pm_card_visa"})
    assert (intent.status, intent.last_payment_error) == ("requires_capture", None)
    assert [charge["status"] for charge in sandbox.charges(id)] == ["succeeded", "failed"]


async def test_a_generic_test_method_is_a_fresh_one_at_each_use(client: Any) -> None:
    first, second = await pay(client), await pay(client)
    assert first.payment_method != second.payment_method
    method = await client.payment_methods.retrieve_async(first.payment_method)
    assert (method.card.brand, method.card.last4) == ("visa", "4242")


async def test_a_payment_method_without_a_customer_pays_once(client: Any) -> None:
    method = await card(client)
    await pay(client, method.id)
    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        await pay(client, method.id)


AUTHENTICATED = [
    ("pm_card_authenticationRequired", "requires_capture", None),
    ("pm_card_threeDSecure2Required", "requires_capture", None),
    ("pm_card_authenticationRequiredOnSetup", "requires_capture", None),
    ("pm_card_authenticationRequiredSetupForOffSession", "requires_capture", None),
    ("pm_card_threeDSecureRequiredChargeDeclined", "requires_payment_method", "card_declined"),
    (
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        "requires_payment_method",
        "card_declined",
    ),
]


@pytest.mark.parametrize(("method", "status", "code"), AUTHENTICATED)
async def test_an_approved_authentication_authorizes_the_payment(
    client: Any, sandbox: RunningSandbox, method: str, status: str, code: str | None
) -> None:
    intent = await pay(client, method)
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    assert intent.latest_charge is None
    approved = sandbox.authenticate(intent.id, approve=True)
    assert (approved["status"], approved["next_action"]) == (status, None)
    assert (approved["last_payment_error"] or {}).get("code") == code
    with pytest.raises(ValueError, match=status):
        sandbox.authenticate(intent.id, approve=True)


async def test_a_declined_authentication_makes_no_charge(
    client: Any, sandbox: RunningSandbox
) -> None:
    intent = await pay(client, "pm_card_authenticationRequired")
    sandbox.authenticate(intent.id, approve=False)
    intent = await client.payment_intents.retrieve_async(intent.id)
    assert (intent.status, intent.latest_charge) == ("requires_payment_method", None)
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"


async def test_with_a_return_url_the_next_action_is_a_redirect(
    client: Any, sandbox: RunningSandbox
) -> None:
    back = "https://shop.example/back"
    intent = await pay(client, "pm_card_authenticationRequired", return_url=back)
    assert intent.next_action.type == "redirect_to_url"
    assert intent.next_action.redirect_to_url.return_url == back
    assert intent.next_action.redirect_to_url.url.startswith(f"{sandbox.url}/authenticate?")


async def test_off_session_a_required_authentication_is_a_decline(client: Any) -> None:
    for more in ({"off_session": True}, {"error_on_requires_action": True}):
        with pytest.raises(stripe.CardError) as declined:
            await pay(client, "pm_card_authenticationRequired", **more)
        assert declined.value.code == "authentication_required"
    set_up = "pm_card_authenticationRequiredSetupForOffSession"
    assert (await pay(client, set_up, off_session=True)).status == "requires_capture"


async def test_authentication_can_be_asked_for(client: Any) -> None:
    options = {"card": {"request_three_d_secure": "any"}}
    intent = await pay(client, payment_method_options=options)
    assert intent.status == "requires_action"
    intent = await pay(client, "pm_card_amex", payment_method_options=options)
    assert intent.status == "requires_capture"


async def test_automatic_payment_methods_need_a_return_url(
    client: Any, sandbox: RunningSandbox
) -> None:
    params = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    with pytest.raises(stripe.InvalidRequestError, match="must provide a `return_url`"):
        await client.payment_intents.create_async(params)
    assert sandbox.payment_intents() == []
    automatic = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
    for more in ({"return_url": "https://shop.example/"}, automatic):
        intent = await client.payment_intents.create_async({**params, **more})
        assert intent.status == "succeeded"


async def test_a_confirmation_without_a_payment_method_is_refused(client: Any) -> None:
    intent = await client.payment_intents.create_async({"amount": 2000, "currency": "usd", **CARD})
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method") as refused:
        await client.payment_intents.confirm_async(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"


async def test_a_card_is_kept_without_its_number(client: Any, sandbox: RunningSandbox) -> None:
    method = await card(client)
    assert (method.card.last4, method.card.exp_month, method.card.exp_year) == ("4242", 12, 2040)
    stored = sandbox.ledger.find("payment_method", method.id)
    assert "4242424242424242" not in str(stored)


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 1999}, "invalid_expiry_year"),
        ({"exp_year": 95}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
        ({"number": "4111111111111111"}, "card_declined"),
    ],
)
async def test_wrong_card_details_are_refused(
    client: Any, details: dict[str, Any], code: str | None
) -> None:
    with pytest.raises(stripe.CardError) as refused:
        await card(client, **details)
    assert (refused.value.code, refused.value.http_status) == (code, 402)
    assert "4111" not in str(refused.value)


async def test_the_security_code_is_wrong_only_if_one_was_given(client: Any) -> None:
    params = {"number": "4000000000000127", "exp_month": 12, "exp_year": 2040}
    method = await client.payment_methods.create_async({"type": "card", "card": params})
    assert (await pay(client, method.id)).status == "requires_capture"
