"""What docs/security.md says of the limits is what they are."""

from api.http.connections import HEAD_TIMEOUT, MAX_CONNECTIONS, SEND_TIMEOUT
from api.http.middleware import BODY_TIMEOUT, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADERS
from api.http.rate_limits import ORDER_LIMITS, SIGN_IN_LIMITS, SIGN_UP_LIMITS
from api.server import HTTP_KEEP_ALIVE
from devstack.process import REPOSITORY

PERIODS = {60: "a minute", 3600: "an hour"}


def test_the_table_tells_every_limit() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text()
    cells = [line.split(" | ")[1:3] for line in text.splitlines() if line.startswith("| ")]

    said = [most for _, most in cells if most[0].isdigit()]

    limits = [limit.rate for limit in (*SIGN_IN_LIMITS, *SIGN_UP_LIMITS, *ORDER_LIMITS)]
    assert said == [f"{rate.amount} {PERIODS[rate.get_expiry()]}" for rate in limits]


def test_one_address_can_use_up_less_than_half_of_an_accounts_guesses() -> None:
    _, at_one_address, anywhere = SIGN_IN_LIMITS

    assert at_one_address.rate.get_expiry() == anywhere.rate.get_expiry()
    assert 2 * at_one_address.rate.amount < anywhere.rate.amount


def test_it_tells_how_long_and_how_much_a_connection_may_wait_for() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text()
    section = text.partition("## Slow and heavy connections")[2].partition("\n## ")[0]

    for duration in (HEAD_TIMEOUT, BODY_TIMEOUT, SEND_TIMEOUT, HTTP_KEEP_ALIVE):
        assert f"{duration.total_seconds():.0f} s" in section
    for size in (MAX_HEAD_BYTES, MAX_BODY_BYTES):
        assert f"{size // 1024} KiB" in section
    assert f"{MAX_HEADERS} headers" in section
    assert f"{MAX_CONNECTIONS:,} connections" in section
