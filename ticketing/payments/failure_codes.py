"""Why a payment failed, as far as its buyer may be told."""

from typing import Annotated

from pydantic import AfterValidator

NOT_FOR_THE_HOLDER = frozenset({"fraudulent", "lost_card", "merchant_blacklist", "stolen_card"})
"""Whoever holds a stolen card must not learn what its bank knows.

Stripe asks to present these as `generic_decline`: https://docs.stripe.com/declines/codes
"""


def shown_failure_code(failure_code: str) -> str:
    """The failure code for its buyer; the true one stays with the charge."""
    return "generic_decline" if failure_code in NOT_FOR_THE_HOLDER else failure_code


ShownFailureCode = Annotated[str, AfterValidator(shown_failure_code)]
