"""The marketplace of the purchase tests, and somebody who checks it."""

import pytest

from tests.purchases.conftest import (
    buyer,
    idle_market,
    market,
    other_buyer,
    seller,
)
from tests.purchases.marketplace import Marketplace
from tests.reconciliation.auditor import Auditor

__all__ = [
    "buyer",
    "idle_market",
    "market",
    "other_buyer",
    "seller",
]


@pytest.fixture
def auditor(market: Marketplace) -> Auditor:
    return Auditor(market)
