"""The marketplace of the purchase tests, and somebody who checks it."""

import pytest

from tests.purchases.conftest import (
    buyer,
    documentation,
    idle_market,
    market,
    mongodb,
    mongodb_settings,
    other_buyer,
    seller,
    temporal_address,
)
from tests.purchases.marketplace import Marketplace
from tests.reconciliation.auditor import Auditor

__all__ = [
    "buyer",
    "documentation",
    "idle_market",
    "market",
    "mongodb",
    "mongodb_settings",
    "other_buyer",
    "seller",
    "temporal_address",
]


@pytest.fixture
def auditor(market: Marketplace) -> Auditor:
    return Auditor(market)
