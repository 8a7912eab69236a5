"""One stack of two API processes and two workers, whole again after each test."""

import os
from collections.abc import Iterator

import pytest

from devstack.settings import ProcessCounts, StackSettings
from devstack.stack import Stack

DRAIN_SECONDS = 4
"""More than twice as long as the balancer takes to notice."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = StackSettings.on_free_ports(
        tmp_path_factory.mktemp("drain"), ProcessCounts(api=2, workers=2)
    )
    environ = {name: value for name, value in os.environ.items() if name != "STRIPE_API_KEY"}
    rules = {"API_DRAIN": str(DRAIN_SECONDS), "PAYMENT_WAIT": "30"}
    with Stack(settings, environ | rules) as stack:
        yield stack


@pytest.fixture(autouse=True)
def whole(stack: Stack) -> Iterator[None]:
    yield
    stack.start_parts(*(part.name for part in stack.ended_parts()))
