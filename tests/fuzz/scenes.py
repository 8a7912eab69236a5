"""Real users, tickets and orders, so that a random request gets past "not found"."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from schemathesis import Case

from tests.purchases.contract import Json
from tests.purchases.marketplace import Marketplace, Person
from tests.settings import OPERATOR_TOKEN

EMAIL, PASSWORD = "known@example.com", "correct horse battery"
"""The one account that has a password."""


AnyCase = Case[Any]


class Caller(StrEnum):
    """Who sends a request."""

    SELLER = auto()
    BUYER = auto()
    STRANGER = auto()
    OPERATOR = auto()
    NOBODY = auto()
    """With the credentials, if any, that were made up for the request."""


class Situation(StrEnum):
    """What a request is about."""

    AVAILABLE = auto()
    RESERVED = auto()
    AUTHENTICATING = auto()
    COMPLETED = auto()
    CANCELLED = auto()
    REFUNDED = auto()
    MADE_UP = auto()
    """Whatever ids were made up for the request."""


@dataclass(frozen=True)
class Scene:
    """A ticket, maybe an order of it, and the people around them."""

    tokens: dict[Caller, str]
    there: dict[str, str]
    """What there is, by the names that paths and bodies have for it."""

    def put_into(self, case: AnyCase) -> None:
        """Let the request be about what there is."""
        for fields in (case.path_parameters, case.body):
            if isinstance(fields, dict):
                fields.update(
                    {name: self.there[name] for name in fields.keys() & self.there.keys()}
                )

    def headers(self, caller: Caller) -> dict[str, str]:
        """What the caller sends along."""
        token = self.tokens.get(caller)
        return {} if token is None else {"Authorization": f"Bearer {token}"}


async def stage(market: Marketplace, situation: Situation, card: str) -> Scene:
    """Bring the situation about, with new people; the card is what may be paid with."""
    seller, buyer, stranger = market.crowd(3)
    tokens = {
        Caller.SELLER: _token_of(seller),
        Caller.BUYER: _token_of(buyer),
        Caller.STRANGER: _token_of(stranger),
        Caller.OPERATOR: OPERATOR_TOKEN,
    }
    there = {"email": EMAIL, "username": EMAIL, "password": PASSWORD, "paymentMethod": card}
    if situation is Situation.MADE_UP:
        return Scene(tokens, there)
    ticket = await seller.list_ticket()
    there |= {"ticket_id": ticket["id"], "ticketId": ticket["id"]}
    if situation is not Situation.AVAILABLE:
        order = await buyer.reserve(ticket)
        there |= {"order_id": order["id"], "orderId": order["id"]}
        await _bring_about(situation, seller, buyer, order)
    return Scene(tokens, there)


async def _bring_about(situation: Situation, seller: Person, buyer: Person, order: Json) -> None:
    steps: dict[Situation, list[Callable[[Json], Awaitable[object]]]] = {
        Situation.AUTHENTICATING: [buyer.pay_through_the_bank],
        Situation.COMPLETED: [buyer.buy],
        Situation.CANCELLED: [buyer.cancel],
        Situation.REFUNDED: [buyer.buy, seller.refund],
    }
    for step in steps.get(situation, []):
        await step(order)


def _token_of(person: Person) -> str:
    return person.http.headers["Authorization"].removeprefix("Bearer ")
