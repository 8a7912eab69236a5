"""Money as people write and read it; everywhere else it is an integer of minor units.

How many minor units make one of a currency is Stripe's rule, which is not always ISO 4217's:
https://docs.stripe.com/currencies, "Zero-decimal currencies" and "Special cases".
"""

import re

_CODES_WITHOUT_DECIMALS = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_NO_DECIMALS = frozenset(_CODES_WITHOUT_DECIMALS.split())
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""Stripe takes them in thousandths, of which the last digit has to be 0."""
_WHOLE_ONLY = frozenset({"isk", "ugx"})
"""They have lost their cents; Stripe goes on taking them in hundredths, of which it wants 00."""

_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}

_MOST_DIGITS = 15
"""More than any price has, and far from what Python or MongoDB cannot count."""

_AMOUNT = re.compile(
    r"(?P<whole>[0-9]+|[1-9][0-9]{0,2}(?P<separator>[, ])[0-9]{3}(?:(?P=separator)[0-9]{3})*)"
    r"(?:\.(?P<decimals>[0-9]+))?"
)


def decimal_places(currency: str) -> int:
    """How many digits of an amount of minor units stand after the point."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def format_amount(amount: int, currency: str) -> str:
    """An amount of minor units as people read it: `$1,234.50`, `CHF 50.00`."""
    symbol = _SYMBOLS.get(currency, f"{currency.upper()} ")
    sign = "-" if amount < 0 else ""
    return f"{sign}{symbol}{_written(abs(amount), currency, grouping=',')}"


def plain_amount(amount: int, currency: str) -> str:
    """An amount of minor units as an input holds it, `1234.50`; `parse_amount` reads it back."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{_written(abs(amount), currency)}"


def examples(currency: str) -> str:
    """How an amount may be written, as a form suggests it: `25 or 25.00`."""
    return "2500" if _charged_places(currency) == 0 else "25 or 25.00"


def parse_amount(text: str, currency: str) -> int:
    """The minor units of an amount that somebody wrote.

    A point stands before the decimals, and nothing else does. Commas or spaces may stand between
    thousands, each in its place, so `1,250` is 1250.00 and `25,50` is refused rather than taken
    for 2550. Where `1,250` could be meant as one and a quarter, in a currency of three decimals,
    it is refused as well. The currency's own symbol or code may stand before or after.

    Raises:
        ValueError: it is anything else. The message says how to write it, and reads on after
            a field's name.
    """
    written = _AMOUNT.fullmatch(_without_currency(" ".join(text.lower().split()), currency))
    if written is None:
        raise ValueError(_how_to_write(currency, is_about_comma="," in text))
    places = decimal_places(currency)
    whole, decimals = written["whole"], written["decimals"] or ""
    if places == 3 and whole.count(",") == 1 and not decimals:
        raise ValueError(_how_to_write(currency, is_about_comma=True))
    if len(decimals) > places or len(decimals.rstrip("0")) > _charged_places(currency):
        raise ValueError(_how_to_write(currency))
    digits = re.sub("[, ]", "", whole) + decimals.ljust(places, "0")
    if len(digits) > _MOST_DIGITS:
        raise ValueError("write a smaller amount")
    return int(digits)


def _written(amount: int, currency: str, grouping: str = "") -> str:
    places = decimal_places(currency)
    whole, minor = divmod(amount, 10**places)
    return f"{whole:{grouping}}.{minor:0{places}}" if places else f"{whole:{grouping}}"


def _without_currency(text: str, currency: str) -> str:
    for mark in (currency, _SYMBOLS.get(currency, currency)):
        if text.startswith(mark):
            return text.removeprefix(mark).lstrip()
        if text.endswith(mark):
            return text.removesuffix(mark).rstrip()
    return text


def _charged_places(currency: str) -> int:
    """How many decimals may be other than 0 for Stripe to take the amount."""
    if currency in _WHOLE_ONLY:
        return 0
    return min(decimal_places(currency), 2)


def _how_to_write(currency: str, *, is_about_comma: bool = False) -> str:
    if _charged_places(currency) == 0:
        return f"write a whole amount such as {examples(currency)}"
    if is_about_comma:
        return f"write an amount such as {examples(currency)}, with a point before the decimals"
    return f"write an amount such as {examples(currency)}"
