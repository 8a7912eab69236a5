"""Currencies and the amounts that can be charged in them.

Stripe: "Supported currencies", with its minimum and maximum charge amounts.
"""

from devstack.stripe_sandbox.errors import InvalidParameter

MAX_AMOUNT = 99_999_999
"""Minor units: eight digits in every currency."""

_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
_TWO_DECIMALS = (
    "usd aed all amd aud azn bam bbd bdt bgn bmd bnd brl bsd bzd cad chf cny cop crc czk dkk "
    "dop dzd egp etb eur fjd gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes "
    "kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad "
    "ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd sos srd "
    "szl thb tjs top try ttd twd tzs uah uyu uzs wst xcd yer zar zmw"
)
_CURRENCIES = frozenset(f"{_ZERO_DECIMAL} {_TWO_DECIMALS}".split())
_MINIMUM = {"gbp": 30, "sek": 300, "nok": 300, "dkk": 250, "mxn": 1000, "hkd": 400, "aed": 200}
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def checked_currency(currency: str) -> str:
    """The currency in lower case.

    Raises:
        InvalidParameter: Stripe has no such currency.
    """
    lowered = currency.lower()
    if lowered not in _CURRENCIES:
        supported = ", ".join(sorted(_CURRENCIES))
        raise InvalidParameter(
            f"Invalid currency: {lowered}. Stripe currently supports these currencies: {supported}",
            param="currency",
        )
    return lowered


def checked_amount(amount: int, currency: str) -> int:
    """The amount, in minor units, if it can be charged.

    Raises:
        InvalidParameter: `amount_too_small` or `amount_too_large`.
    """
    least = _MINIMUM.get(currency, 50)
    if amount < least:
        raise InvalidParameter(
            f"Amount must be at least {format_amount(least, currency)} {currency}",
            code="amount_too_small",
            param="amount",
        )
    if amount > MAX_AMOUNT:
        raise InvalidParameter(
            f"Amount must be no more than {format_amount(MAX_AMOUNT, currency)}",
            code="amount_too_large",
            param="amount",
        )
    return amount


def format_amount(amount: int, currency: str) -> str:
    """An amount of minor units as people read it: `$1,234.50`."""
    symbol = _SYMBOLS.get(currency, f"{currency.upper()} ")
    if currency in _ZERO_DECIMAL.split():
        return f"{symbol}{amount:,}"
    return f"{symbol}{amount // 100:,}.{amount % 100:02}"
