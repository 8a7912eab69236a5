"""Orders in every state that an operator comes upon, in a running stack."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from devstack.stack import Stack
from tests.devstack.waiting import eventually

Json = dict[str, Any]

CONFIRMING = "/v1/payment_intents"
"""Where the worker asks Stripe to authorize a payment."""


@dataclass(frozen=True)
class Scene:
    """An order, and by what else it can be found."""

    order: str
    ticket: str
    buyer: str
    intent: str | None = None
    client_secret: str | None = None
    """What the buyer shows the bank."""


class Market:
    """A seller and a buyer, who bring orders into a state and leave them there."""

    def __init__(self, stack: Stack, seller: httpx.Client, buyer: httpx.Client) -> None:
        self._stack = stack
        self._seller = seller
        self.buyer = buyer

    def lists(self, title: str) -> str:
        """A ticket on sale."""
        answer = self._seller.post("/api/tickets", json={"title": title, "price": 4500})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def waits_for_payment(self, title: str = "Ferry Lights, row 12") -> Scene:
        """Somebody has reserved, and not paid."""
        answer = self.buyer.post("/api/orders", json={"ticketId": self.lists(title)})
        assert answer.status_code == 201, answer.text
        order = answer.json()
        return Scene(order["id"], order["ticketId"], order["userId"])

    def waits_for_the_bank(self) -> Scene:
        """The bank wants the buyer."""
        return self._paid_with("pm_card_authenticationRequired", 202, "Brass Foxes, row 2")

    def is_completed(self) -> Scene:
        """Somebody has paid."""
        return self._paid_with("pm_card_visa", 201, "The Snow Merchant, upper circle")

    def is_declined(self) -> Scene:
        """The bank has said no, for good."""
        return self._paid_with("pm_card_chargeDeclined", 402, "Two Winters, stalls")

    def is_cancelled(self) -> Scene:
        """Its buyer did not want it any more."""
        scene = self.waits_for_payment("Night Ferry, balcony")
        assert self.buyer.delete(f"/api/orders/{scene.order}").status_code == 200
        return scene

    def waits_for_stripe(self) -> Scene:
        """Stripe answers nothing but errors, until it is mended; the last scene to set."""
        fault = {"match": {"path": CONFIRMING}, "kind": "error", "status": 503, "times": None}
        assert httpx.post(self._faults, json=fault).status_code == 201
        scene = self.waits_for_payment("The Old Mill, gallery")
        self.pays(scene, status=202)
        eventually(lambda: self.order(scene)["status"] == "awaiting_payment")
        return scene

    def mend_stripe(self) -> None:
        """Let Stripe answer again."""
        assert httpx.delete(self._faults).is_success

    def order(self, scene: Scene) -> Json:
        """The order as its buyer sees it."""
        body: Json = self.buyer.get(f"/api/orders/{scene.order}").json()
        return body

    def _paid_with(self, card: str, status: int, title: str) -> Scene:
        scene = self.waits_for_payment(title)
        secret = self.pays(scene, card, status).get("clientSecret")
        eventually(lambda: self.order(scene)["charges"][0]["stripeId"])
        intent = self.order(scene)["charges"][0]["stripeId"]
        return replace(scene, intent=intent, client_secret=secret)

    def confirms(self, scene: Scene) -> None:
        """Tell the bank that it was oneself who paid."""
        link = {"client_secret": scene.client_secret or ""}
        page = f"{self._stack.urls['stripe_sandbox']}/authenticate"
        assert not httpx.post(page, params=link, data={"decision": "approve"}).is_error
        eventually(lambda: self.order(scene)["status"] == "completed")

    def pays(self, scene: Scene, card: str = "pm_card_visa", status: int = 201) -> Json:
        """Pay for the order that a scene has left open."""
        payment = {"orderId": scene.order, "paymentMethod": card}
        answer = self.buyer.post("/api/payments", json=payment)
        assert answer.status_code == status, answer.text
        body: Json = answer.json()
        return body

    @property
    def _faults(self) -> str:
        return f"{self._stack.urls['stripe_sandbox']}/_sandbox/faults"


@contextmanager
def open_market(stack: Stack) -> Iterator[Market]:
    """A market in the stack, for as long as the block runs."""
    with ExitStack() as sessions:
        seller, buyer = [
            sessions.enter_context(_somebody(stack.urls["api"], name))
            for name in ("seller", "buyer")
        ]
        yield Market(stack, seller, buyer)


@contextmanager
def _somebody(url: str, name: str) -> Iterator[httpx.Client]:
    user = {"email": f"{name}@example.com", "password": "correct horse battery"}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        if client.post("/api/users/signup", json=user).status_code != 201:
            assert client.post("/api/users/signin", json=user).status_code == 200
        yield client
