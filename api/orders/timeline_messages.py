"""The messages of timeline entries, chosen on reading by code, reason and reader.

Sellers never learn why a buyer's card failed, and buyers nothing about the seller's balance.
"""

from collections.abc import Mapping
from enum import StrEnum

from ticketing.models.timeline import TimelineEntry
from ticketing.payments.failure_codes import shown_failure_code
from ticketing.statuses import CancelReason, TimelineCode


class Reader(StrEnum):
    """The role of somebody who reads an order's timeline."""

    BUYER = "buyer"
    SELLER = "seller"


HIDDEN_REASONS = {
    (Reader.SELLER, TimelineCode.PAYMENT_FAILED),
    (Reader.BUYER, TimelineCode.REFUND_DELAYED),
    (Reader.BUYER, TimelineCode.REFUND_REFUSED),
}

MESSAGES: Mapping[Reader, Mapping[TimelineCode, str]] = {
    Reader.BUYER: {
        TimelineCode.TICKET_RESERVED: "The ticket is reserved for you.",
        TimelineCode.PAYMENT_SUBMITTED: "You submitted a payment.",
        TimelineCode.AUTHENTICATION_REQUIRED: "Your bank wants you to confirm the payment.",
        TimelineCode.PAYMENT_FAILED: "The payment failed; nothing was charged.",
        TimelineCode.ORDER_COMPLETED: "Your payment went through and the ticket is yours.",
        TimelineCode.ORDER_CANCELLED: "The order was cancelled.",
        TimelineCode.REFUND_REQUESTED: "A refund of your payment was requested.",
        TimelineCode.REFUND_DELAYED: "The refund takes longer than usual; you need do nothing.",
        TimelineCode.REFUND_REFUSED: "The refund could not be made; the ticket is still yours.",
        TimelineCode.REFUNDED_IN_PART: "A part of your payment was refunded.",
    },
    Reader.SELLER: {
        TimelineCode.TICKET_RESERVED: "A buyer reserved the ticket.",
        TimelineCode.PAYMENT_SUBMITTED: "The buyer submitted a payment.",
        TimelineCode.AUTHENTICATION_REQUIRED: "The bank wants the buyer to confirm the payment.",
        TimelineCode.PAYMENT_FAILED: "The payment did not go through.",
        TimelineCode.ORDER_COMPLETED: "The payment went through and the ticket is sold.",
        TimelineCode.ORDER_CANCELLED: "The order was cancelled.",
        TimelineCode.REFUND_REQUESTED: "A refund to the buyer was requested.",
        TimelineCode.REFUND_DELAYED: "Stripe could not make the refund yet; it is tried again.",
        TimelineCode.REFUND_REFUSED: "Stripe refused the refund; the order stays completed.",
        TimelineCode.REFUNDED_IN_PART: "A part of the payment went back; the order stays as it is.",
    },
}
"""The messages without a reason, and for reasons that have no message below."""

CANCELLATION_MESSAGES: Mapping[Reader, Mapping[str, str]] = {
    Reader.BUYER: {
        CancelReason.EXPIRED: "The order was not paid in time, and the ticket was released.",
        CancelReason.PAYMENT_FAILED: "No payment went through, and the ticket was released.",
        CancelReason.CANCELLED_BY_BUYER: "You cancelled the order.",
        CancelReason.CANCELLED_BY_OPERATOR: "The marketplace cancelled the order.",
        CancelReason.REFUNDED: "Your payment was refunded and the order cancelled.",
    },
    Reader.SELLER: {
        CancelReason.EXPIRED: "The order was not paid in time, and the ticket was released.",
        CancelReason.PAYMENT_FAILED: "No payment went through, and the ticket was released.",
        CancelReason.CANCELLED_BY_BUYER: "The buyer cancelled the order.",
        CancelReason.CANCELLED_BY_OPERATOR: "The marketplace cancelled the order.",
        CancelReason.REFUNDED: "The buyer was refunded and the order cancelled.",
    },
}

DECLINE_REASONS: Mapping[str, str] = {
    "approve_with_id": "it could not be approved",
    "call_issuer": "please call your bank",
    "card_not_supported": "the card cannot be used for this",
    "card_velocity_exceeded": "the card's limit is reached",
    "currency_not_supported": "the card does not take this currency",
    "do_not_try_again": "please call your bank",
    "duplicate_transaction": "the same amount was paid with it a moment ago",
    "expired_card": "the card has expired",
    "incorrect_address": "the address does not match",
    "incorrect_pin": "the PIN is wrong",
    "incorrect_zip": "the postal code does not match",
    "insufficient_funds": "insufficient funds",
    "invalid_account": "the account of the card is not valid",
    "invalid_amount": "the amount is more than the card allows",
    "invalid_pin": "the PIN is wrong",
    "new_account_information_available": "the card or its account has changed",
    "not_permitted": "the card cannot be used for this",
    "offline_pin_required": "it wants a PIN",
    "online_or_offline_pin_required": "it wants a PIN",
    "pin_try_exceeded": "the PIN was wrong too often",
    "restricted_card": "the card cannot be used for this",
    "revocation_of_all_authorizations": "you have stopped payments to this marketplace",
    "revocation_of_authorization": "you have stopped this payment",
    "service_not_allowed": "the card cannot be used for this",
    "stop_payment_order": "you have stopped this payment",
    "testmode_decline": "it is a card for tests",
    "transaction_not_allowed": "the card cannot be used for this",
    "withdrawal_count_limit_exceeded": "the card's limit is reached",
}
"""Why the bank declined, by Stripe's decline code: https://docs.stripe.com/declines/codes"""

UNEXPLAINED_DECLINES = (
    "card_declined",
    "declined",
    "do_not_honor",
    "fraudulent",
    "generic_decline",
    "lost_card",
    "merchant_blacklist",
    "no_action_taken",
    "pickup_card",
    "security_violation",
    "stolen_card",
)
"""The bank gives no reason, or Stripe asks not to tell it to the cardholder."""

PAYMENT_FAILURE_MESSAGES: Mapping[str, str] = {
    **{code: f"Your bank declined the card: {why}." for code, why in DECLINE_REASONS.items()},
    **dict.fromkeys(
        UNEXPLAINED_DECLINES,
        "Your bank declined the card and gave no reason; it may tell you more.",
    ),
    **dict.fromkeys(
        ("authentication_required", "mobile_device_authentication_required"),
        "Your bank wants you to confirm payments with this card.",
    ),
    **dict.fromkeys(("incorrect_number", "invalid_number"), "The number of the card is wrong."),
    **dict.fromkeys(("incorrect_cvc", "invalid_cvc"), "The security code of the card is wrong."),
    **dict.fromkeys(
        ("invalid_expiry_month", "invalid_expiry_year"), "The expiry date of the card is wrong."
    ),
    **dict.fromkeys(
        ("issuer_not_available", "processing_error", "reenter_transaction", "try_again_later"),
        "Your bank could not be asked; nothing was charged, and trying again may help.",
    ),
    **dict.fromkeys(
        ("invalid_request", "payment_method_unactivated", "resource_missing"),
        "The payment method cannot be used; nothing was charged.",
    ),
    "payment_intent_authentication_failure": "Your bank did not confirm that it was you who paid.",
    "cancelled": "The payment was given up; nothing was charged.",
    "captured_elsewhere": "The payment was taken by mistake, and has gone back to you.",
    CancelReason.EXPIRED: "The payment was not confirmed in time; nothing was charged.",
    CancelReason.CANCELLED_BY_BUYER: "You cancelled before the payment was confirmed.",
    CancelReason.CANCELLED_BY_OPERATOR: "The marketplace stopped the payment; nothing was charged.",
}
"""Why a payment failed, by the charge's failure code."""


REFUND_FAILURE_MESSAGES: Mapping[str, str] = {
    **dict.fromkeys(
        ("charge_disputed", "charge_for_pending_refund_disputed", "refund_disputed_payment"),
        "The buyer has disputed the payment with the bank, which decides about the money now; "
        "the order stays completed.",
    ),
    **dict.fromkeys(
        ("declined", "expired_or_canceled_card", "lost_or_stolen_card"),
        "The buyer's bank did not take the refund, and the money is back at Stripe; "
        "the order stays completed.",
    ),
    "charge_already_refunded": "Stripe has paid the money back already.",
    "insufficient_funds": "The money at Stripe did not suffice for the refund; "
    "the order stays completed.",
    **dict.fromkeys(
        ("merchant_request", "canceled", CancelReason.CANCELLED_BY_OPERATOR),
        "The marketplace stopped the refund; the order stays completed.",
    ),
}
"""Why a refund was not made, by Stripe's error code or the refund's failure reason.

Sources: https://docs.stripe.com/error-codes and `failure_reason` of https://docs.stripe.com/api/refunds
"""


def shown_reason(reader: Reader, entry: TimelineEntry) -> str | None:
    """The entry's reason, unless it is hidden from the reader."""
    if entry.reason is None or (reader, entry.code) in HIDDEN_REASONS:
        return None
    return shown_failure_code(entry.reason)


def refund_failure_message(code: str) -> str:
    """Why a refund was not made, for the seller who asked for it."""
    return REFUND_FAILURE_MESSAGES.get(code, MESSAGES[Reader.SELLER][TimelineCode.REFUND_REFUSED])


def message_for(reader: Reader, entry: TimelineEntry) -> str:
    """The entry's message for the reader."""
    reasons: Mapping[str, str] = {}
    if entry.code is TimelineCode.ORDER_CANCELLED:
        reasons = CANCELLATION_MESSAGES[reader]
    elif entry.code is TimelineCode.PAYMENT_FAILED:
        reasons = PAYMENT_FAILURE_MESSAGES
    elif entry.code is TimelineCode.REFUND_REFUSED:
        reasons = REFUND_FAILURE_MESSAGES
    reason = shown_reason(reader, entry)
    return reasons.get(reason or "", MESSAGES[reader][entry.code])
