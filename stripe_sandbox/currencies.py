"""Currencies, the amounts that can be charged in them, and how an amount is written.

Stripe: "Supported currencies", with its minimum and maximum charge amounts, "Zero-decimal
currencies" and "Special cases".
"""

from stripe_sandbox.errors import InvalidParameter

MAX_AMOUNT = 99_999_999
"""Minor units: eight digits in every currency."""

_CODES = (
    "usd aed all amd aud azn bam bbd bdt bgn bif bmd bnd brl bsd bzd cad chf clp cny cop crc "
    "czk djf dkk dop dzd egp etb eur fjd gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils "
    "inr isk jmd jpy kes kgs khr kmf krw kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt "
    "mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln pyg qar ron "
    "rsd rub rwf sar sbd scr sek sgd sos srd szl thb tjs top try ttd twd tzs uah ugx uyu uzs "
    "vnd vuv wst xaf xcd xof xpf yer zar zmw"
)
_CURRENCIES = frozenset(_CODES.split())
_MINIMUM = {"gbp": 30, "sek": 300, "nok": 300, "dkk": 250, "mxn": 1000, "hkd": 400, "aed": 200}

_CODES_WITHOUT_DECIMALS = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_NO_DECIMALS = frozenset(_CODES_WITHOUT_DECIMALS.split())
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def format_amount(amount: int, currency: str) -> str:
    """An amount of minor units as people read it: `$1,234.50`, `CHF 50.00`."""
    places = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    whole, minor = divmod(amount, 10**places)
    decimals = f".{minor:0{places}}" if places else ""
    return f"{_SYMBOLS.get(currency, f'{currency.upper()} ')}{whole:,}{decimals}"


def validate_currency(currency: str) -> str:
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


def validate_amount(amount: int, currency: str) -> int:
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
