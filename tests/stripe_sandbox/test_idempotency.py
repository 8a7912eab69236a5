"""Idempotency keys: one effect and one answer, also after a restart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import stripe

from stripe_sandbox.testing import RunningSandbox, running_sandbox, stripe_client
from tests.stripe_sandbox.client import PAYMENT, authorize, error_of, headers_of, replayed
from tests.waiting import eventually


async def test_the_same_key_gets_the_very_first_answer_again(
    client: Any, sandbox: RunningSandbox
) -> None:
    first = await authorize(client)
    await client.payment_intents.capture_async(first.id)
    again = await authorize(client)
    assert (again.id, again.status) == (first.id, "requires_capture")
    headers = again.last_response.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Idempotency-Key"] == "authorize"
    assert headers["Request-Id"] != headers["Original-Request"]
    assert headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert len(sandbox.payment_intents()) == 1


async def test_a_stored_decline_is_answered_again(client: Any, sandbox: RunningSandbox) -> None:
    answers = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await authorize(client, payment_method="pm_card_chargeDeclined")
        answers.append(declined.value)
    assert answers[0].json_body == answers[1].json_body
    assert (answers[1].headers or {})["Idempotent-Replayed"] == "true"
    assert len(sandbox.payment_intents()) == 1


async def test_a_refused_state_is_stored_with_the_key(client: Any) -> None:
    intent = await authorize(client)
    await client.payment_intents.cancel_async(intent.id)
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await client.payment_intents.capture_async(intent.id, None, {"idempotency_key": "c"})
    assert headers_of(refused)["Idempotent-Replayed"] == "true"


async def test_invalid_parameters_are_not_stored_so_the_key_can_be_used_again(client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await authorize(client, amount=1)
    intent = await authorize(client)
    assert intent.status == "requires_capture"


async def test_the_same_key_for_another_body_or_path_is_an_idempotency_error(client: Any) -> None:
    intent = await authorize(client)
    other = {"idempotency_key": "authorize"}
    for call in (
        authorize(client, amount=3000),
        client.payment_intents.capture_async(intent.id, None, other),
    ):
        with pytest.raises(stripe.IdempotencyError) as refused:
            await call
        assert refused.value.http_status == 400
        assert error_of(refused).type == "idempotency_error"


async def test_the_order_of_the_parameters_does_not_matter(
    client: Any, sandbox: RunningSandbox
) -> None:
    first = await authorize(client)
    again = await client.payment_intents.create_async(
        dict(reversed(PAYMENT.items())), {"idempotency_key": "authorize"}
    )
    assert again.id == first.id


async def test_a_key_whose_first_request_still_runs_is_in_use(
    client: Any, sandbox: RunningSandbox
) -> None:
    held = sandbox.set_fault("held")
    first = asyncio.create_task(authorize(client))
    await eventually(lambda: held.times == 0)
    # The official client has no class of its own for a 409.
    with pytest.raises(stripe.APIError) as in_use:
        await authorize(client)
    assert in_use.value.http_status == 409
    assert error_of(in_use).code == "idempotency_key_in_use"
    another = await authorize(client, "another")
    sandbox.clear_faults()
    assert another.id != (await first).id
    assert (await authorize(client)).id == (await first).id
    assert len(sandbox.payment_intents()) == 2


async def test_of_many_requests_with_one_key_one_has_an_effect(
    client: Any, sandbox: RunningSandbox
) -> None:
    answers: list[Any] = await asyncio.gather(
        *(authorize(client) for _ in range(20)), return_exceptions=True
    )
    made = {answer.id for answer in answers if not isinstance(answer, Exception)}
    assert len(made) == len(sandbox.payment_intents()) == 1
    refused: list[Any] = [answer for answer in answers if isinstance(answer, Exception)]
    assert {answer.http_status for answer in refused} <= {409}


async def test_too_long_a_key_is_refused(client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        await authorize(client, "k" * 256)


async def test_a_restart_remembers_payments_and_answers(tmp_path: Path) -> None:
    database = tmp_path / "stripe.sqlite3"
    async with (
        running_sandbox(database=database) as sandbox,
        stripe_client(sandbox.url) as stripe_api,
    ):
        first = await authorize(stripe_api.v1)
        with pytest.raises(stripe.CardError):
            await authorize(stripe_api.v1, "no", payment_method="pm_card_chargeDeclined")
    assert b"4242424242424242" not in database.read_bytes()

    async with (
        running_sandbox(database=database) as sandbox,
        stripe_client(sandbox.url) as stripe_api,
    ):
        client = stripe_api.v1
        again = await authorize(client)
        assert again.id == first.id
        assert replayed(again)
        with pytest.raises(stripe.CardError) as declined:
            await authorize(client, "no", payment_method="pm_card_chargeDeclined")
        assert headers_of(declined)["Idempotent-Replayed"] == "true"
        with pytest.raises(stripe.IdempotencyError):
            await authorize(client, amount=1234)
        captured = await client.payment_intents.capture_async(first.id)
        assert captured.status == "succeeded"
        assert len(sandbox.payment_intents()) == 2
