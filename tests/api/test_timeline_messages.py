"""Every entry of a timeline has words for its reader."""

import re
from datetime import UTC, datetime

import pytest

from api.orders.timeline_messages import (
    CANCELLATION_MESSAGES,
    DECLINE_REASONS,
    MESSAGES,
    PAYMENT_FAILURE_MESSAGES,
    REFUND_FAILURE_MESSAGES,
    Reader,
    message_for,
    refund_failure_message,
    shown_reason,
)
from stripe_sandbox.cards import CARDS
from ticketing.models import TimelineEntry
from ticketing.statuses import CancelReason, TimelineCode

DECLINE_CODES = [
    "approve_with_id",
    "authentication_required",
    "call_issuer",
    "card_not_supported",
    "card_velocity_exceeded",
    "currency_not_supported",
    "do_not_honor",
    "do_not_try_again",
    "duplicate_transaction",
    "expired_card",
    "fraudulent",
    "generic_decline",
    "incorrect_address",
    "incorrect_cvc",
    "incorrect_number",
    "incorrect_pin",
    "incorrect_zip",
    "insufficient_funds",
    "invalid_account",
    "invalid_amount",
    "invalid_cvc",
    "invalid_expiry_month",
    "invalid_expiry_year",
    "invalid_number",
    "invalid_pin",
    "issuer_not_available",
    "lost_card",
    "merchant_blacklist",
    "mobile_device_authentication_required",
    "new_account_information_available",
    "no_action_taken",
    "not_permitted",
    "offline_pin_required",
    "online_or_offline_pin_required",
    "pickup_card",
    "pin_try_exceeded",
    "processing_error",
    "reenter_transaction",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "security_violation",
    "service_not_allowed",
    "stolen_card",
    "stop_payment_order",
    "testmode_decline",
    "transaction_not_allowed",
    "try_again_later",
    "withdrawal_count_limit_exceeded",
]
"""Stripe's own list: https://docs.stripe.com/declines/codes"""

OTHER_FAILURES = [
    "payment_intent_authentication_failure",
    "resource_missing",
    "declined",
    "cancelled",
    CancelReason.EXPIRED,
    CancelReason.CANCELLED_BY_BUYER,
    CancelReason.CANCELLED_BY_OPERATOR,
]
"""What else a charge's failure code can be."""

NOT_FOR_THE_HOLDER = ["fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "stolen_card"]


def entry(code: TimelineCode, reason: str | None = None) -> TimelineEntry:
    return TimelineEntry(at=datetime(2026, 1, 1, tzinfo=UTC), code=code, reason=reason)


def failed(reason: str) -> TimelineEntry:
    return entry(TimelineCode.PAYMENT_FAILED, reason)


def cancelled(reason: str) -> TimelineEntry:
    return entry(TimelineCode.ORDER_CANCELLED, reason)


def is_a_sentence(words: str) -> bool:
    return re.fullmatch(r"[A-Z][^_]+\.", words) is not None


@pytest.mark.parametrize("reader", Reader)
def test_every_code_and_every_reason_to_cancel_has_words_for_each_reader(reader: Reader) -> None:
    assert MESSAGES[reader].keys() == set(TimelineCode)
    assert CANCELLATION_MESSAGES[reader].keys() == set(CancelReason)
    for code in TimelineCode:
        assert is_a_sentence(message_for(reader, entry(code))), code
    for reason in CancelReason:
        assert is_a_sentence(message_for(reader, cancelled(reason))), reason


@pytest.mark.parametrize("code", [*DECLINE_CODES, *OTHER_FAILURES])
def test_every_reason_to_fail_has_words_of_its_own(code: str) -> None:
    words = message_for(Reader.BUYER, failed(code))

    assert words == PAYMENT_FAILURE_MESSAGES[code]
    assert is_a_sentence(words)
    assert words != MESSAGES[Reader.BUYER][TimelineCode.PAYMENT_FAILED]


def test_every_test_card_that_is_declined_has_words() -> None:
    declines = [card.decline for card in CARDS if card.decline is not None]

    assert {
        decline.decline_code or decline.code for decline in declines
    } <= PAYMENT_FAILURE_MESSAGES.keys()


def test_no_reason_to_decline_is_unheard_of_by_stripe() -> None:
    assert DECLINE_REASONS.keys() <= set(DECLINE_CODES)


def test_the_buyer_is_told_what_the_bank_said() -> None:
    assert (
        message_for(Reader.BUYER, failed("insufficient_funds"))
        == "Your bank declined the card: insufficient funds."
    )


@pytest.mark.parametrize("code", NOT_FOR_THE_HOLDER)
def test_what_stripe_asks_to_keep_from_the_holder_of_a_card_reads_like_any_decline(
    code: str,
) -> None:
    assert PAYMENT_FAILURE_MESSAGES[code] == PAYMENT_FAILURE_MESSAGES["generic_decline"]


@pytest.mark.parametrize("code", DECLINE_CODES)
def test_the_holder_of_a_stolen_card_does_not_learn_what_its_bank_knows(code: str) -> None:
    is_kept = code in ("fraudulent", "lost_card", "merchant_blacklist", "stolen_card")

    assert shown_reason(Reader.BUYER, failed(code)) == ("generic_decline" if is_kept else code)


@pytest.mark.parametrize("code", [*DECLINE_CODES, *OTHER_FAILURES])
def test_the_seller_never_learns_why_a_payment_failed(code: str) -> None:
    assert shown_reason(Reader.SELLER, failed(code)) is None
    assert message_for(Reader.SELLER, failed(code)) == message_for(
        Reader.SELLER, failed("unheard_of")
    )


@pytest.mark.parametrize(
    "code", ["charge_disputed", "expired_or_canceled_card", CancelReason.CANCELLED_BY_OPERATOR]
)
def test_the_seller_alone_is_told_in_words_why_a_refund_was_refused(code: str) -> None:
    refused = entry(TimelineCode.REFUND_REFUSED, code)

    assert (
        message_for(Reader.SELLER, refused)
        == refund_failure_message(code)
        == REFUND_FAILURE_MESSAGES[code]
    )
    assert is_a_sentence(refund_failure_message(code))
    assert message_for(Reader.BUYER, refused) == MESSAGES[Reader.BUYER][TimelineCode.REFUND_REFUSED]
    assert (
        refund_failure_message("unheard_of") == MESSAGES[Reader.SELLER][TimelineCode.REFUND_REFUSED]
    )


def test_the_buyer_does_not_learn_how_the_sellers_money_stands() -> None:
    delayed = entry(TimelineCode.REFUND_DELAYED, "balance_insufficient")

    assert shown_reason(Reader.BUYER, delayed) is None
    assert shown_reason(Reader.SELLER, delayed) == "balance_insufficient"


@pytest.mark.parametrize("reader", Reader)
@pytest.mark.parametrize("code", TimelineCode)
def test_a_reason_of_tomorrow_is_told_in_general_words(reader: Reader, code: TimelineCode) -> None:
    assert message_for(reader, entry(code, "unheard_of")) == MESSAGES[reader][code]
