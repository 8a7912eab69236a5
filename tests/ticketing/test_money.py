"""Money as people write and read it."""

import re
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ticketing.money import decimal_places, format_amount, parse_amount, plain_amount

SMALLEST_STEPS = {"usd": 1, "eur": 1, "chf": 1, "jpy": 1, "kwd": 10, "ugx": 100, "isk": 100}
"""By currency, the minor units that Stripe takes a whole number of."""

AMOUNTS = st.sampled_from(sorted(SMALLEST_STEPS)).flatmap(
    lambda currency: st.tuples(
        st.integers(0, 99_999_999).map(lambda steps: steps * SMALLEST_STEPS[currency]),
        st.just(currency),
    )
)


@pytest.mark.parametrize(
    ("amount", "currency", "read"),
    [
        (5000, "usd", "$50.00"),
        (5, "usd", "$0.05"),
        (0, "gbp", "£0.00"),
        (125_000, "eur", "€1,250.00"),
        (99_999_999, "usd", "$999,999.99"),
        (5000, "jpy", "¥5,000"),
        (5000, "krw", "KRW 5,000"),
        (5000, "chf", "CHF 50.00"),
        (5120, "kwd", "KWD 5.120"),
        (-5000, "usd", "-$50.00"),
    ],
)
def test_an_amount_is_read_with_its_currency(amount: int, currency: str, read: str) -> None:
    assert format_amount(amount, currency) == read


@pytest.mark.parametrize(
    ("currency", "places"),
    [("usd", 2), ("chf", 2), ("jpy", 0), ("xpf", 0), ("kwd", 3), ("tnd", 3)],
)
def test_a_currency_has_the_decimals_that_stripe_counts_it_in(currency: str, places: int) -> None:
    assert decimal_places(currency) == places


@pytest.mark.parametrize("currency", ["isk", "ugx"])
def test_a_currency_that_lost_its_cents_is_still_counted_in_them(currency: str) -> None:
    assert parse_amount("5", currency) == 500
    assert parse_amount("5.00", currency) == 500
    with pytest.raises(ValueError, match=r"^write a whole amount such as 2500$"):
        parse_amount("5.50", currency)


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("25", 2500),
        ("25.00", 2500),
        ("25.5", 2550),
        ("25.05", 2505),
        ("0.5", 50),
        ("0", 0),
        ("025", 2500),
        (" 25\t", 2500),
        ("$25", 2500),
        ("$ 25.00", 2500),
        ("25$", 2500),
        ("USD 25", 2500),
        ("25 usd", 2500),
        ("1250", 125_000),
        ("1,250", 125_000),
        ("1,250.00", 125_000),
        ("1,250,000.5", 125_000_050),
        ("1 250", 125_000),
        ("1\u00a0250.00", 125_000),
        ("1\u202f250", 125_000),
    ],
)
def test_an_amount_is_taken_as_people_write_it(text: str, cents: int) -> None:
    assert parse_amount(text, "usd") == cents


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "$", "usd", "free"),
        *("-25", "−25", "+25", "(25)", "1e3", "25e2", "nan", "inf", "0x10", "1_000"),
        *("٢٥", "２５", "²5", "25½"),
        *("25.", ".5", "25.005", "25.000", "1.250", "25.0.0", "25. 00", "2 5", "1 25"),
        *("$25$", "$usd25", "€25", "25 eur", "25 dollars"),
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write an amount such as 25 or 25\.00$"):
        parse_amount(text, "usd")


@pytest.mark.parametrize(
    "text",
    [
        *("25,00", "25,5", ",50", "0,250", "1250,000", "1,25", "1,2500", "1,25,000", "1.250,00"),
        *("1 250,00", "1,250 000", "1 250,000", "1, 250", "1,,250", "1,250,"),
    ],
)
def test_a_comma_that_does_not_part_thousands_is_refused_and_not_left_out(text: str) -> None:
    with pytest.raises(ValueError, match=r"with a point before the decimals$"):
        parse_amount(text, "usd")


def test_a_comma_that_could_part_either_is_refused() -> None:
    with pytest.raises(ValueError, match=r"with a point before the decimals$"):
        parse_amount("1,250", "kwd")
    assert parse_amount("1,250.000", "kwd") == 1_250_000
    assert parse_amount("1,250,000", "kwd") == 1_250_000_000
    assert parse_amount("1 250", "kwd") == 1_250_000
    assert parse_amount("1.25", "kwd") == 1250


def test_of_three_decimals_stripe_wants_the_last_to_be_zero() -> None:
    assert parse_amount("5.120", "kwd") == 5120
    with pytest.raises(ValueError, match=r"^write an amount such as"):
        parse_amount("5.124", "kwd")


def test_a_currency_without_decimals_is_written_without() -> None:
    assert parse_amount("¥5,000", "jpy") == 5000
    for text in ("5.000", "25.0", "25,5"):
        with pytest.raises(ValueError, match=r"^write a whole amount such as 2500$"):
            parse_amount(text, "jpy")


@pytest.mark.parametrize("text", ["9" * 16, "9" * 5000, "0" * 5000])
def test_more_digits_than_any_price_has_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write a smaller amount$"):
        parse_amount(text, "usd")


@given(AMOUNTS)
def test_what_an_input_holds_and_what_people_read_is_read_back(amount: tuple[int, str]) -> None:
    assert parse_amount(plain_amount(*amount), amount[1]) == amount[0]
    assert parse_amount(format_amount(*amount), amount[1]) == amount[0]


@given(st.text("0123456789,. ", min_size=1, max_size=12))
@example("1,250")
@example("25,50")
@example("1 250.5")
def test_no_text_is_misread_by_a_power_of_ten(text: str) -> None:
    try:
        cents = parse_amount(text, "usd")
    except ValueError:
        return
    assert cents == Decimal(re.sub("[, ]", "", text)) * 100
    *_, last = re.split("[, ]", text.strip())
    assert last == text.strip() or len(last.partition(".")[0]) == 3
