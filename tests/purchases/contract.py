"""What every answer has to keep: it is documented, and shaped as the contract says."""

import re
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from httpx import Request, Response

Json = dict[str, Any]

ORDER = {
    "id",
    "userId",
    "status",
    "cancelReason",
    "ticketId",
    "ticket",
    "expiresAt",
    "createdAt",
    "completedAt",
    "cancelledAt",
    "charges",
}
ORDERED_TICKET = {"id", "title", "price", "currency"}
CHARGE = {
    "id",
    "orderId",
    "status",
    "amount",
    "currency",
    "stripeId",
    "stripeRefundId",
    "failureCode",
    "createdAt",
}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def assert_order(order: Json) -> Json:
    """The order has the members of the contract, no more and no fewer, all the way down."""
    assert order.keys() == ORDER
    assert order["ticket"].keys() == ORDERED_TICKET
    assert order["ticket"]["id"] == order["ticketId"]
    for charge in order["charges"]:
        assert_charge(charge)
        assert charge["orderId"] == order["id"]
    _assert_instants(order, "expiresAt", "createdAt", "completedAt", "cancelledAt")
    was_completed = order["status"] == "completed" or order["cancelReason"] == "refunded"
    assert was_completed == (order["completedAt"] is not None)
    assert (order["status"] == "cancelled") == (order["cancelledAt"] is not None)
    assert (order["status"] == "cancelled") == (order["cancelReason"] is not None)
    return order


def assert_charge(charge: Json) -> Json:
    """The charge has the members of the contract; a client secret is not among them."""
    assert charge.keys() == CHARGE
    assert (charge["status"] == "failed") == (charge["failureCode"] is not None)
    _assert_instants(charge, "createdAt")
    return charge


def _assert_instants(of: Json, *names: str) -> None:
    for name in names:
        assert of[name] is None or INSTANT.fullmatch(of[name]), (name, of[name])


class Documentation:
    """The OpenAPI page, compared with every answer that is seen."""

    def __init__(self, app: FastAPI) -> None:
        self._paths: dict[str, dict[str, Json]] = app.openapi()["paths"]

    async def check(self, response: Response) -> None:
        """A response hook: the status, and the code of a refusal, are documented."""
        await response.aread()
        request = f"{response.request.method} {response.request.url.path}"
        assert response.status_code != 500, f"{request} met a bug: {response.text}"
        answers = self._answers_to(response.request)
        assert str(response.status_code) in answers, f"{request}: {response.status_code}"
        if response.headers.get("Content-Type") == "application/problem+json":
            problems = answers[str(response.status_code)]["content"]["application/problem+json"]
            assert response.json()["code"] in problems["examples"], f"{request}: {response.text}"

    def _answers_to(self, request: Request) -> Json:
        path = request.url.path
        for template in sorted(self._paths, key=lambda template: template.count("{")):
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                responses: Json = self._paths[template][request.method.lower()]["responses"]
                return responses
        raise AssertionError(f"{path} is not documented at all")


def instant(text: str) -> datetime:
    """A moment of an answer; compared as text, a whole second would come after its fractions."""
    return datetime.fromisoformat(text)
