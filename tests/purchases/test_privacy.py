"""What a workflow's history must not hold: it is kept for long, and operators read it."""

from temporalio.client import WorkflowHistory

from tests.purchases.marketplace import Marketplace, Person


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


def _everything_in(history: WorkflowHistory) -> bytes:
    """Every event as it is kept, payloads and all: they are not compressed."""
    return b"".join(event.SerializeToString() for event in history.events)
