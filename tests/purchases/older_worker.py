"""A worker of an older version, whose reservations do not tell which ticket they are of."""

from dataclasses import replace
from typing import Any

import pytest

from activities.reservations import Reservation
from api.temporal.orders import OrderWorkflowClient


def reserve_as_an_older_worker(patch: pytest.MonkeyPatch) -> None:
    """Let the API read each order that it has made, as it must if the ticket was just edited."""
    reserve = OrderWorkflowClient.reserve

    async def reserve_without_a_version(client: OrderWorkflowClient, *order: Any) -> Reservation:
        return replace(await reserve(client, *order), reserved_at=None, ticket_version=None)

    patch.setattr(OrderWorkflowClient, "reserve", reserve_without_a_version)
