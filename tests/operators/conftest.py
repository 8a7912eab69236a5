"""A marketplace on the real Temporal server, and an operator who can do anything there."""

import pytest

from tests.market import Market
from tests.operators.operator import Operator, market_of
from tests.purchases.conftest import (
    buyer,
    idle_market,
    other_buyer,
    seller,
)
from tests.purchases.conftest import market as marketplace
from tests.purchases.marketplace import Marketplace

__all__ = [
    "buyer",
    "idle_market",
    "marketplace",
    "other_buyer",
    "seller",
]


@pytest.fixture
def market(marketplace: Marketplace) -> Market:
    """The same marketplace without the API in front, for paths that workflows take."""
    return market_of(marketplace)


@pytest.fixture
def operator(marketplace: Marketplace) -> Operator:
    return Operator(marketplace)
