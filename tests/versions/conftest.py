"""A stack with two builds of the workers side by side, and workers of none."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from devstack.process import Part
from devstack.settings import ProcessCounts, StackSettings
from devstack.stack import Stack
from tests.versions.deployment import DEPLOYMENT

BUILDS = {"worker-1": "1", "worker-2": "2"}
UNVERSIONED = "worker-3"


class TwoBuilds(Stack):
    """The same code twice, under two names: to Temporal these are two builds."""

    def _make_parts(self) -> dict[str, Part]:
        parts = super()._make_parts()
        for name, build in BUILDS.items():
            version = {"WORKER_DEPLOYMENT_NAME": DEPLOYMENT, "WORKER_BUILD_ID": build}
            parts[name].environ = {**self.environment, **version}
        return parts


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = StackSettings.on_free_ports(
        tmp_path_factory.mktemp("versions"), ProcessCounts(workers=3)
    )
    environ: dict[str, Any] = {k: v for k, v in os.environ.items() if k != "STRIPE_API_KEY"}
    with TwoBuilds(settings, environ | {"PAYMENT_WAIT": "2"}) as stack:
        yield stack


@pytest.fixture(autouse=True)
def two_builds(stack: Stack) -> None:
    """Each test begins with both builds there, and with no unversioned worker."""
    stack.stop_part(UNVERSIONED)
    for name in BUILDS:
        if not stack.parts[name].is_running:
            stack.start_part(name)
