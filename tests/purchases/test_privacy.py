"""What logs, refusals and histories must not hold: they are kept for long, and others read them."""

import logging

import pytest
from httpx import Response
from pymongo.errors import AutoReconnect, OperationFailure
from temporalio.client import WorkflowHistory

from tests.api.conftest import sign_in, sign_up
from tests.purchases.marketplace import Marketplace, Person
from tests.settings import JWT_KEY, WEBHOOK_SECRET
from ticketing.models import User
from ticketing.observability.logs import MINIMUM_LEVELS


async def test_no_history_holds_a_client_secret_or_an_address(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    emails = [await person.email() for person in (seller, buyer)]
    order = await buyer.reserve(await seller.list_ticket(title="A secret meeting"))
    charge = await buyer.pay_through_the_bank(order)
    market.sandbox.authenticate(charge["stripeId"])
    await buyer.sees(order, "completed")

    history = _everything_in(await market.history(order))
    # It is looked for where it would be: what may be there is found.
    for known in (charge["stripeId"], order["id"], "pm_card_authenticationRequired"):
        assert known.encode() in history
    secret = charge["clientSecret"]
    for unwanted in (secret, secret.partition("_secret_")[2], *emails, "A secret meeting"):
        assert unwanted.encode() not in history


async def test_no_failed_step_puts_a_client_secret_into_the_history(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    for fault in ("lost_answer", "error_stored"):
        market.sandbox.set_fault(fault, method="POST", path="/v1/payment_intents/*/capture")
    market.sandbox.set_fault("lost_answer", method="POST", path="/v1/payment_intents")
    charge = await buyer.buy(order)

    history = _everything_in(await market.history(order))
    assert charge["stripeId"].encode() in history
    assert market.intent_of(charge)["client_secret"].encode() not in history
    assert b"_secret_" not in history


async def test_a_client_secret_is_answered_once_and_is_gone_with_the_authentication(
    market: Marketplace, seller: Person, buyer: Person
) -> None:
    order = await buyer.reserve(await seller.list_ticket())
    charge = await buyer.pay_through_the_bank(order)
    secret = charge["clientSecret"]
    for path in ("/api/orders", f"/api/orders/{order['id']}"):
        assert secret not in (await buyer.http.get(path)).text
    (stored,) = (await market.written())["charges"]
    assert stored["client_secret"] == secret

    market.sandbox.authenticate(charge["stripeId"])
    await buyer.sees(order, "completed")
    assert secret not in repr(await market.written())


EMAIL = "marker-of-an-address@example.com"
PASSWORDS = ("marker-of-the-password", "marker-of-a-wrong-one")
STRIPE_KEY = "sk_test_sandbox"


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that may be logged, tracebacks included, at the most talkative setting."""
    caplog.set_level(logging.DEBUG)
    for name, level in MINIMUM_LEVELS.items():
        caplog.set_level(level, logger=name)
    return caplog


async def test_no_secret_of_a_user_or_of_ours_shows_when_parts_fail(
    market: Marketplace,
    seller: Person,
    logs: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusals: list[Response] = []

    async def keep_refusals(answer: Response) -> None:
        if answer.is_error:
            refusals.append(answer)

    password, wrong = PASSWORDS
    http = market.visit()
    http.event_hooks["response"] = [keep_refusals]
    await sign_up(http, email=EMAIL, password=password)
    buyer, token = Person(http), http.cookies["session"]

    # People's mistakes, then a database that is away, then one that fails in an unforeseen way.
    again = {"email": EMAIL, "password": password}
    await http.post("/api/users/signup", json=again)
    await http.post("/api/users/signup", json={"email": "nonsense", "password": wrong})
    await http.post("/api/users/token", data={"username": EMAIL, "password": wrong})
    await sign_in(http, EMAIL, wrong)
    for failure in (AutoReconnect("gone"), OperationFailure("unforeseen", 2)):
        with monkeypatch.context() as broken:
            broken.setattr(User, "find_one", _raising(failure))
            await sign_in(http, EMAIL, password)
            await http.post("/api/users/signup", json=again)
    await http.get("/api/orders", headers={"Authorization": f"Bearer {token[:-2]}"})

    # A purchase on which everything goes wrong that can.
    ticket = await seller.list_ticket()
    await market.lose_temporal()
    await buyer.ask_for(ticket)
    market.find_temporal()
    order = await buyer.reserve(ticket)
    market.sandbox.set_fault("lost_answer", method="POST", path="/v1/payment_intents")
    market.sandbox.set_fault("error", method="POST", path="/v1/payment_intents/*/capture")
    charge = await buyer.pay_through_the_bank(order)
    await market.post('{"type": "payment_intent.succeeded"}', "t=1,v1=forged")
    market.sandbox.authenticate(charge["stripeId"])
    await buyer.sees(order, "completed")

    history = _everything_in(await market.history(order)).decode(errors="replace")
    told = "\n".join(answer.text + repr(answer.headers) for answer in refusals)
    assert {answer.status_code for answer in refusals} >= {401, 409, 422, 500, 503}
    assert "unforeseen" in logs.text
    secrets = [EMAIL, *PASSWORDS, token, charge["clientSecret"], STRIPE_KEY]
    for secret in [*secrets, JWT_KEY, WEBHOOK_SECRET, "$argon2id$"]:
        for place, text in {"logs": logs.text, "refusals": told, "history": history}.items():
            assert secret not in text, f"{secret} is in the {place}"


def _raising(failure: Exception) -> object:
    async def fail(*_: object, **__: object) -> None:
        raise failure

    return fail


def _everything_in(history: WorkflowHistory) -> bytes:
    """Every event as it is kept, payloads and all: they are not compressed."""
    return b"".join(event.SerializeToString() for event in history.events)
