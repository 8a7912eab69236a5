"""What the payment activities make of what Stripe and our own records hold."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest
from beanie import PydanticObjectId
from pymongo import AsyncMongoClient
from temporalio.testing import ActivityEnvironment

from activities.orders import OrderActivities
from activities.payments import (
    AttemptedIntent,
    AuthorizePayment,
    PaymentActivities,
    PaymentOutcome,
    PaymentState,
    UnexpectedPaymentState,
)
from stripe_sandbox.testing import RunningSandbox, stripe_client
from ticketing.clock import utc_now
from ticketing.models import Charge, Order, Ticket, TicketSnapshot
from ticketing.mongodb import BSONDocument
from ticketing.payments.gateway import StripeGateway
from ticketing.payments.intents import IntentStatus, PaymentOutcomeUnknown, PaymentRefused
from ticketing.statuses import ChargeStatus, OrderStatus

CARD_WAITS = "pm_card_authenticationRequired"


@pytest.fixture
def payments(mongodb: AsyncMongoClient[BSONDocument], gateway: StripeGateway) -> PaymentActivities:
    return PaymentActivities(mongodb, gateway, OrderActivities(mongodb))


@pytest.fixture
async def ticket(charge: Charge) -> Ticket:
    """The ticket that the charge's order holds."""
    return await Ticket(
        title="Front row",
        price=charge.amount,
        currency=charge.currency,
        user_id=PydanticObjectId(),
        order_id=charge.order_id,
        created_at=charge.created_at,
        updated_at=charge.created_at,
    ).insert()


@pytest.fixture(autouse=True)
async def order(charge: Charge, ticket: Ticket) -> Order:
    """The order that the charge is to pay."""
    assert ticket.id is not None
    return await Order(
        id=charge.order_id,
        user_id=PydanticObjectId(),
        seller_id=ticket.user_id,
        ticket_id=ticket.id,
        ticket=TicketSnapshot(title="Front row", price=charge.amount, currency=charge.currency),
        status=OrderStatus.AWAITING_PAYMENT,
        expires_at=charge.created_at + timedelta(minutes=15),
        created_at=charge.created_at,
    ).insert()


async def timeline_of(order: Order) -> list[tuple[str, int | None]]:
    found = await Order.get(order.id)
    assert found is not None
    return [(entry.code, entry.attempt) for entry in found.timeline]


@pytest.fixture
async def charge(mongodb: AsyncMongoClient[BSONDocument]) -> Charge:
    return await Charge(
        order_id=PydanticObjectId(),
        attempt=1,
        status=ChargeStatus.CREATED,
        amount=2500,
        currency="usd",
        created_at=utc_now(),
    ).insert()


async def authorize(payments: PaymentActivities, charge: Charge, card: str) -> PaymentState:
    request = AuthorizePayment(
        order_id=str(charge.order_id),
        charge_id=str(charge.id),
        attempt=charge.attempt,
        amount=charge.amount,
        currency=charge.currency,
        payment_method=card,
        begun_at=charge.created_at,
    )
    state: PaymentState = await ActivityEnvironment().run(payments.authorize_payment, request)
    return state


def intent_of(charge: Charge, state: PaymentState) -> AttemptedIntent:
    assert state.intent_id is not None
    return AttemptedIntent(str(charge.order_id), charge.attempt, state.intent_id, charge.amount)


async def test_an_intent_that_the_charge_names_is_read_and_not_made_again(
    payments: PaymentActivities, charge: Charge, sandbox: RunningSandbox
) -> None:
    first = await authorize(payments, charge, "pm_card_visa")

    # Stripe forgets an idempotency key after a day; what is on record is asked for instead.
    assert await authorize(payments, charge, "pm_card_visa") == first

    assert sandbox.count("POST", "/v1/payment_intents") == 1


async def test_the_client_secret_is_kept_on_the_charge_and_nowhere_else(
    payments: PaymentActivities, charge: Charge
) -> None:
    state = await authorize(payments, charge, CARD_WAITS)

    kept = await Charge.get(charge.id)
    assert kept is not None
    assert state.outcome is PaymentOutcome.AUTHENTICATION_REQUIRED
    assert kept.client_secret is not None
    assert kept.client_secret not in repr(state)


async def test_a_late_answer_puts_no_secret_on_a_charge_that_is_closed(
    payments: PaymentActivities, charge: Charge
) -> None:
    await charge.set({"status": ChargeStatus.FAILED})

    await authorize(payments, charge, CARD_WAITS)

    kept = await Charge.get(charge.id)
    assert kept is not None
    assert (kept.client_secret, kept.stripe_id) == (None, None)


async def test_a_capture_of_another_amount_is_never_taken_for_ours(
    payments: PaymentActivities, charge: Charge, sandbox: RunningSandbox
) -> None:
    state = await authorize(payments, charge, "pm_card_visa")
    async with stripe_client(sandbox.url) as dashboard:
        await dashboard.v1.payment_intents.capture_async(
            state.intent_id or "", {"amount_to_capture": 100}
        )

    with pytest.raises(UnexpectedPaymentState, match="captured 100 of 2500"):
        await payments.capture_payment(intent_of(charge, state))
    with pytest.raises(UnexpectedPaymentState):
        await payments.cancel_payment_intent(intent_of(charge, state))


async def test_an_approved_intent_is_not_cancelled(
    payments: PaymentActivities, charge: Charge, sandbox: RunningSandbox
) -> None:
    state = await authorize(payments, charge, CARD_WAITS)
    sandbox.authenticate(state.intent_id or "", approve=True)

    after = await payments.cancel_payment_intent(intent_of(charge, state))

    assert after.outcome is PaymentOutcome.AUTHORIZED


async def test_the_bank_wanting_the_buyer_is_told_once_however_often_stripe_is_asked(
    payments: PaymentActivities, charge: Charge, order: Order
) -> None:
    for _ in range(2):
        await authorize(payments, charge, CARD_WAITS)

    assert await timeline_of(order) == [("authentication_required", 1)]


async def test_a_worker_that_dies_early_still_tells_that_the_bank_wants_the_buyer(
    payments: PaymentActivities, charge: Charge, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Charge, "find_one", _lose_the_connection_after(1, Charge.find_one))
        with pytest.raises(ConnectionError):
            await authorize(payments, charge, CARD_WAITS)

    await authorize(payments, charge, CARD_WAITS)

    assert await timeline_of(order) == [("authentication_required", 1)]
    kept = await Charge.get(charge.id)
    assert kept is not None
    assert kept.client_secret is not None


async def test_the_bank_wanting_the_buyer_of_a_closed_order_is_not_told(
    payments: PaymentActivities, charge: Charge, order: Order
) -> None:
    await order.set({"status": OrderStatus.CANCELLED})

    await authorize(payments, charge, CARD_WAITS)

    assert await timeline_of(order) == []


async def test_a_card_that_works_tells_nothing_of_authentication(
    payments: PaymentActivities, charge: Charge, order: Order
) -> None:
    await authorize(payments, charge, "pm_card_visa")

    assert await timeline_of(order) == []


def _lose_the_connection_after(
    times: int, find_one: Callable[..., object]
) -> Callable[..., object]:
    calls = itertools.count(1)

    def call(*arguments: object, **options: object) -> object:
        if next(calls) > times:
            raise ConnectionError
        return find_one(*arguments, **options)

    return call


async def test_an_intent_that_stripe_refuses_to_capture_is_given_up(
    payments: PaymentActivities,
    gateway: StripeGateway,
    sandbox: RunningSandbox,
    charge: Charge,
    order: Order,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authorized = await authorize(payments, charge, "pm_card_visa")
    assert authorized.intent_id is not None
    refused = replace(await gateway.read(authorized.intent_id), failure_code="capture_refused")
    monkeypatch.setattr(gateway, "capture", AsyncMock(return_value=refused))
    attempted = AttemptedIntent(str(order.id), 1, authorized.intent_id, charge.amount)

    states = [await payments.capture_payment(attempted) for _ in range(2)]

    outcome = (PaymentOutcome.CANCELLED, "capture_refused")
    assert [(state.outcome, state.failure_code) for state in states] == [outcome] * 2
    assert sandbox.payment_intent(authorized.intent_id)["status"] == "canceled"


async def test_an_intent_of_another_order_is_not_taken_for_ours(
    payments: PaymentActivities, gateway: StripeGateway, charge: Charge
) -> None:
    other = await gateway.authorize(
        order_id=str(PydanticObjectId()),
        attempt=1,
        amount=99_900,
        currency="usd",
        payment_method="pm_card_visa",
        begun_at=utc_now(),
        idempotency_key="another order",
    )
    await charge.set({"stripe_id": other.id})

    for status in (ChargeStatus.CREATED, ChargeStatus.FAILED):  # may be paid, and may not
        await charge.set({"status": status})
        with pytest.raises(UnexpectedPaymentState, match="is not an intent of order"):
            await authorize(payments, charge, "pm_card_visa")

    assert (await gateway.read(other.id)).status is IntentStatus.REQUIRES_CAPTURE


async def test_an_intent_that_stripe_does_not_know_is_no_answer(
    payments: PaymentActivities, gateway: StripeGateway, charge: Charge
) -> None:
    """As with another account's key: nothing is given up, and nothing released."""
    await charge.set({"stripe_id": "pi_of_another_account"})
    attempted = AttemptedIntent(str(charge.order_id), 1, "pi_of_another_account", charge.amount)

    with pytest.raises(PaymentRefused):
        await authorize(payments, charge, "pm_card_visa")
    with pytest.raises(PaymentOutcomeUnknown):
        await payments.capture_payment(attempted)
    with pytest.raises(PaymentOutcomeUnknown):
        await gateway.cancel("pi_of_another_account", idempotency_key="cancel")
