"""Payment by card without JavaScript: a shop's form posts the card here, and gets a payment method.

Stripe has no such page. With JavaScript, Stripe.js creates the payment method; either way the
shop never sees the card.
"""

import re
from collections.abc import Mapping

from stripe_sandbox import payment_methods
from stripe_sandbox.calls import Call
from stripe_sandbox.errors import InvalidCard, StripeError
from stripe_sandbox.forms import Form
from stripe_sandbox.ledger import Ledger
from stripe_sandbox.return_urls import with_query

_EXPIRY = re.compile(r"([0-9]{1,2})/([0-9]{2}|[0-9]{4})|([0-9]{2})([0-9]{2}|[0-9]{4})")


def return_url_with_result(ledger: Ledger, fields: Mapping[str, str]) -> str:
    """The form's `return_url`, with the payment method created from its card.

    If that fails, it has `card_error` instead, with Stripe's error code.
    """
    result: dict[str, str | None] = {"payment_method": None, "card_error": None}
    try:
        result["payment_method"] = create_payment_method(ledger, fields)
    except StripeError as error:
        result["card_error"] = error.code or "processing_error"
    return with_query(fields["return_url"], result)


def create_payment_method(ledger: Ledger, fields: Mapping[str, str]) -> str:
    """The id of a payment method for the card in `number`, `expiry` and `cvc`.

    Raises:
        StripeError: a field is missing or wrong, or it is no test card; `code` says which.
    """
    form: Form = {"type": "card", "card": _card(fields)}
    with ledger.transaction():
        made = payment_methods.create(Call(ledger=ledger, form=form, base_url="", publishable=True))
    return str(made["id"])


def _card(fields: Mapping[str, str]) -> Form:
    number, expiry, cvc = (_required_field(fields, name) for name in ("number", "expiry", "cvc"))
    found = _EXPIRY.fullmatch(expiry)
    if found is None:
        raise _incomplete("expiry")
    month, year = filter(None, found.groups())
    return {"number": number, "exp_month": month, "exp_year": year, "cvc": cvc}


def _required_field(fields: Mapping[str, str], name: str) -> str:
    """The field's value without spaces."""
    value = "".join(fields.get(name, "").split())
    if not value:
        raise _incomplete(name)
    return value


def _incomplete(name: str) -> InvalidCard:
    # As Stripe's own form names it.
    return InvalidCard("Your card's details are incomplete.", code=f"incomplete_{name}", param=name)
