"""A marketplace on the real Temporal server, and an operator who can do anything there."""

import pytest

from tests.market import Market
from tests.operators.operator import Operator, market_of
from tests.purchases.conftest import (
    buyer,
    documentation,
    idle_market,
    mongodb,
    mongodb_settings,
    other_buyer,
    seller,
    temporal_address,
)
from tests.purchases.conftest import market as marketplace
from tests.purchases.marketplace import Marketplace

__all__ = [
    "buyer",
    "documentation",
    "idle_market",
    "marketplace",
    "mongodb",
    "mongodb_settings",
    "other_buyer",
    "seller",
    "temporal_address",
]


@pytest.fixture
def market(marketplace: Marketplace) -> Market:
    """The same marketplace without the API in front, for paths that workflows take."""
    return market_of(marketplace)


@pytest.fixture
def operator(marketplace: Marketplace) -> Operator:
    return Operator(marketplace)
