"""What docs/security.md says of the limits is what they are."""

from api.http.connections import HEAD_WITHIN, MOST_CONNECTIONS, READ_WITHIN
from api.http.middleware import BODY_WITHIN, LARGEST_BODY, LARGEST_HEAD, MOST_HEADERS
from api.http.rate_limits import ORDER, SIGN_IN, SIGN_UP
from api.server import KEEP_ALIVE
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


def test_it_tells_how_long_and_how_much_a_connection_may_wait_for() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text()
    section = text.partition("## Slow and heavy connections")[2].partition("\n## ")[0]

    for duration in (HEAD_WITHIN, BODY_WITHIN, READ_WITHIN, KEEP_ALIVE):
        assert f"{duration.total_seconds():.0f} s" in section
    for size in (LARGEST_HEAD, LARGEST_BODY):
        assert f"{size // 1024} KiB" in section
    assert f"{MOST_HEADERS} headers" in section
    assert f"{MOST_CONNECTIONS:,} connections" in section
