"""What docs/security.md says of the limits is what they are."""

from api.rate_limits import ORDER, SIGN_IN, SIGN_UP
from devstack.process import REPOSITORY

PERIODS = {60: "a minute", 3600: "an hour"}


def test_the_table_tells_every_limit() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text()
    cells = [line.split(" | ")[1:3] for line in text.splitlines() if line.startswith("| ")]

    said = [most for _, most in cells if most[0].isdigit()]

    limits = [limit.rate for limit in (*SIGN_IN, *SIGN_UP, *ORDER)]
    assert said == [f"{rate.amount} {PERIODS[rate.get_expiry()]}" for rate in limits]


def test_one_address_can_use_up_less_than_half_of_an_accounts_guesses() -> None:
    _, at_one_address, anywhere = SIGN_IN

    assert at_one_address.rate.get_expiry() == anywhere.rate.get_expiry()
    assert 2 * at_one_address.rate.amount < anywhere.rate.amount
