"""A seller, a buyer and Stripe, spoken to over HTTP, whichever revision answers."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any

import httpx

from devstack.settings import StackSettings

Json = dict[str, Any]

PRICE = 5000
VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclined"
ASKS_THE_BUYER = "pm_card_authenticationRequired"
SLOW_REFUNDS = "pm_card_pendingRefund"


class Unexpected(Exception):
    """An answer that should have been another."""


class Market:
    """Everybody keeps the session while the servers come and go."""

    def __init__(self, seller: httpx.Client, buyer: httpx.Client, sandbox: httpx.Client) -> None:
        self._seller = seller
        self._buyer = buyer
        self._sandbox = sandbox
        self._client_secrets: dict[str, str] = {}
        """By order, while the bank wants its buyer."""

    def sign_up(self) -> None:
        for number, client in enumerate((self._seller, self._buyer)):
            email = f"person-{number}-{os.urandom(4).hex()}@example.com"
            user = {"email": email, "password": "a long password"}
            _expect(client.post("/api/users/signup", json=user), HTTPStatus.CREATED)

    def reserve(self) -> Json:
        """An order of a new ticket."""
        listing = {"title": "Row 4", "price": PRICE}
        ticket = _expect(self._seller.post("/api/tickets", json=listing), HTTPStatus.CREATED)
        wish = {"ticketId": ticket["id"]}
        return _expect(self._buyer.post("/api/orders", json=wish), HTTPStatus.CREATED)

    def pay(self, order: Json, card: str = VISA, *, status: int = HTTPStatus.CREATED) -> None:
        """Pay, and insist on the kind of answer."""
        payment = {"orderId": order["id"], "paymentMethod": card}
        answer = _expect(self._buyer.post("/api/payments", json=payment), status)
        if "clientSecret" in answer:
            self._client_secrets[order["id"]] = answer["clientSecret"]

    def answer_the_bank(self, order: Json, decision: str) -> None:
        secret = {"client_secret": self._client_secrets[order["id"]]}
        answer = self._sandbox.post("/authenticate", params=secret, data={"decision": decision})
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise Unexpected(f"the bank's page: {answer.status_code}")

    def cancel(self, order: Json) -> None:
        _expect(self._buyer.delete(f"/api/orders/{order['id']}"), HTTPStatus.OK)

    def refund(self, order: Json, *, status: int = HTTPStatus.OK) -> None:
        _expect(self._seller.post(f"/api/orders/{order['id']}/refund", json={}), status)

    def settle_refund(self, order: Json) -> None:
        """The bank gives the money back at last."""
        (intent,) = self.intents(order)
        found = self._stripe("/v1/refunds", payment_intent=intent["id"])
        (refund,) = found["data"]
        settled = {"status": "succeeded"}
        answer = self._sandbox.post(f"/_sandbox/refunds/{refund['id']}", json=settled)
        if not answer.is_success:
            raise Unexpected(f"settling a refund: {answer.status_code}")

    def order(self, order: Json) -> Json:
        """The order as it is now."""
        return _expect(self._buyer.get(f"/api/orders/{order['id']}"), HTTPStatus.OK)

    def intents(self, order: Json) -> list[Json]:
        """Stripe's payment intents of the order, with what was captured and refunded."""
        ledger = _expect(self._sandbox.get("/_sandbox/ledger"), HTTPStatus.OK)
        intents: list[Json] = ledger["payment_intents"]
        return [intent for intent in intents if intent["metadata"]["order_id"] == order["id"]]

    def break_stripe(
        self, kind: str, path: str, *, method: str = "POST", times: int | None = None
    ) -> None:
        """Until the sandbox stops, or for so many requests."""
        rule = {"kind": kind, "times": times, "match": {"method": method, "path": path}}
        _expect(self._sandbox.post("/_sandbox/faults", json=rule), HTTPStatus.CREATED)

    def _stripe(self, path: str, **query: str) -> Json:
        key = {"Authorization": "Bearer sk_test_sandbox"}
        return _expect(self._sandbox.get(path, params=query, headers=key), HTTPStatus.OK)


@contextmanager
def opened_market(settings: StackSettings) -> Iterator[Market]:
    """A market whose connections do not outlive a request: the servers are restarted."""
    with ExitStack() as clients:
        urls = (settings.urls["api"], settings.urls["api"], settings.urls["stripe_sandbox"])
        yield Market(*(clients.enter_context(_client(url)) for url in urls))


def _client(url: str) -> httpx.Client:
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, timeout=60, limits=limits, trust_env=False)


def _expect(answer: httpx.Response, status: int) -> Json:
    if answer.status_code != status:
        raise Unexpected(f"{answer.request.method} {answer.request.url.path}: {answer.text}")
    body: Json = answer.json()
    return body
