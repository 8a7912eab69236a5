"""Our own idempotency keys, recognised in Stripe's events."""

from typing import get_args

import pytest

from ticketing.payments.idempotency_keys import (
    PaymentStep,
    idempotency_key,
    is_payment_key,
    nth_key,
)

ORDER = "6b035d412918cbe232ed5d84"


@pytest.mark.parametrize("step", get_args(PaymentStep))
@pytest.mark.parametrize("attempt", [1, 12])
@pytest.mark.parametrize("number", [1, 2, 200])
def test_every_key_of_a_payment_is_recognised(step: PaymentStep, attempt: int, number: int) -> None:
    assert is_payment_key(nth_key(idempotency_key(ORDER, attempt, step), number), ORDER)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "3f0c1c1e-6f0e-4b8e-9d0e-2a5b7c8d9e0f",
        f"order:{'0' * 24}:attempt:1:capture",
        f"order:{ORDER}:attempt:1:confirm",
        f"order:{ORDER}:attempt:1:capture:again",
        f"order:{ORDER}:attempt:1:capture\n",
        f"x order:{ORDER}:attempt:1:capture",
        f"order:{ORDER}:refund",
    ],
)
def test_no_other_key_is(key: str) -> None:
    assert not is_payment_key(key, ORDER)
