"""Orders in every waiting state: how the old revision leaves them, how the new one ends them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from tests.upgrade.market import (
    ASKS_THE_BUYER,
    DECLINED,
    PRICE,
    SLOW_REFUNDS,
    Json,
    Market,
)
from ticketing.statuses import CancelReason, OrderStatus

CREATED, AWAITING_PAYMENT = OrderStatus.CREATED, OrderStatus.AWAITING_PAYMENT
COMPLETED = OrderStatus.COMPLETED

INTENTS = "/v1/payment_intents"
CAPTURES = "/v1/payment_intents/*/capture"
REFUNDS = "/v1/refunds"


@dataclass(frozen=True)
class Ending:
    """What is promised of an order."""

    status: OrderStatus
    reason: CancelReason | None = None
    captured: tuple[int, ...] = ()
    """One amount for each captured intent."""
    refunded: int = 0

    def __str__(self) -> str:
        status = f"{self.status} ({self.reason})" if self.reason else str(self.status)
        money = [f"{amount} captured" for amount in self.captured]
        money += [f"{self.refunded} refunded"] if self.refunded else []
        return ", ".join([status, *money])


BOUGHT = Ending(OrderStatus.COMPLETED, captured=(PRICE,))
EXPIRED = Ending(OrderStatus.CANCELLED, CancelReason.EXPIRED)
UNPAID = Ending(OrderStatus.CANCELLED, CancelReason.PAYMENT_FAILED)
CANCELLED = Ending(OrderStatus.CANCELLED, CancelReason.CANCELLED_BY_BUYER)
REFUNDED = Ending(OrderStatus.CANCELLED, CancelReason.REFUNDED, captured=(PRICE,), refunded=PRICE)

Step = Callable[[Market, Json], None]


@dataclass(frozen=True)
class Scene:
    """One order across the upgrade."""

    waits: str
    """For what it waits when the old revision is stopped."""
    begin: Step
    """What leads a new reservation there."""
    left: OrderStatus
    """Its status then."""
    then: str
    finish: Step
    ending: Ending


def _nothing(market: Market, order: Json) -> None:
    """The order is left alone."""


def _declined(market: Market, order: Json) -> None:
    market.pay(order, DECLINED, status=HTTPStatus.PAYMENT_REQUIRED)


def _at_the_bank(market: Market, order: Json) -> None:
    market.pay(order, ASKS_THE_BUYER, status=HTTPStatus.ACCEPTED)


def _at_the_bank_again(market: Market, order: Json) -> None:
    _declined(market, order)
    _at_the_bank(market, order)


def _refund_slowly(market: Market, order: Json) -> None:
    market.pay(order, SLOW_REFUNDS)
    market.refund(order, status=HTTPStatus.ACCEPTED)


def _refund_without_balance(market: Market, order: Json) -> None:
    market.pay(order)
    market.break_stripe("balance_short", REFUNDS)
    market.refund(order, status=HTTPStatus.ACCEPTED)


def _held(path: str, market: Market, order: Json) -> None:
    market.break_stripe("held", path, times=1)
    market.pay(order, status=HTTPStatus.ACCEPTED)


def _lost(path: str, market: Market, order: Json) -> None:
    market.break_stripe("lost_answer", path)
    market.break_stripe("lost_answer", "/v1/**", method="GET")  # nor is it found by looking
    market.pay(order, status=HTTPStatus.ACCEPTED)


def _pay(market: Market, order: Json) -> None:
    market.pay(order)


def _pay_at_the_bank(market: Market, order: Json) -> None:
    market.pay(order, ASKS_THE_BUYER, status=HTTPStatus.ACCEPTED)
    market.answer_the_bank(order, "approve")


def _approve(market: Market, order: Json) -> None:
    market.answer_the_bank(order, "approve")


def _refuse(market: Market, order: Json) -> None:
    market.answer_the_bank(order, "decline")


SCENES: Sequence[Scene] = (
    Scene("payment", _nothing, CREATED, "is paid", _pay, BOUGHT),
    Scene("payment", _nothing, CREATED, "is paid at the bank", _pay_at_the_bank, BOUGHT),
    Scene("payment", _nothing, CREATED, "is cancelled", Market.cancel, CANCELLED),
    Scene("payment", _nothing, CREATED, "expires", _nothing, EXPIRED),
    Scene("another card", _declined, CREATED, "is paid", _pay, BOUGHT),
    Scene("another card", _declined, CREATED, "is cancelled", Market.cancel, CANCELLED),
    Scene("another card", _declined, CREATED, "expires", _nothing, EXPIRED),
    Scene("the bank", _at_the_bank, AWAITING_PAYMENT, "is approved", _approve, BOUGHT),
    Scene("the bank", _at_the_bank, AWAITING_PAYMENT, "is refused, expires", _refuse, EXPIRED),
    Scene("the bank", _at_the_bank, AWAITING_PAYMENT, "is cancelled", Market.cancel, CANCELLED),
    Scene("the bank", _at_the_bank, AWAITING_PAYMENT, "expires", _nothing, EXPIRED),
    Scene("the bank again", _at_the_bank_again, AWAITING_PAYMENT, "is refused", _refuse, UNPAID),
    Scene("nothing", _pay, COMPLETED, "stays bought", _nothing, BOUGHT),
    Scene("nothing", _pay, COMPLETED, "is refunded", Market.refund, REFUNDED),
    Scene("refund", _refund_slowly, COMPLETED, "is settled", Market.settle_refund, REFUNDED),
    # From here on Stripe is broken, for the scenes after it as well.
    Scene("balance", _refund_without_balance, COMPLETED, "is refunded", _nothing, REFUNDED),
    Scene("authorization", partial(_held, INTENTS), AWAITING_PAYMENT, "goes on", _nothing, BOUGHT),
    Scene("capture", partial(_held, CAPTURES), AWAITING_PAYMENT, "goes on", _nothing, BOUGHT),
    Scene("capture, lost", partial(_lost, CAPTURES), AWAITING_PAYMENT, "goes on", _nothing, BOUGHT),
    Scene(
        "authorization, lost",
        partial(_lost, INTENTS),
        AWAITING_PAYMENT,
        "goes on",
        _nothing,
        BOUGHT,
    ),
)
"""Every state in which an order waits for somebody, and every way out of it."""
