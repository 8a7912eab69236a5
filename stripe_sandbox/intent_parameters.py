"""The parameters of a payment intent: which there are, when they apply, what they become."""

from stripe_sandbox.currencies import checked_amount, checked_currency
from stripe_sandbox.errors import InvalidParameter, Json
from stripe_sandbox.parameters import Parameters

CAPTURE_METHODS = ("automatic", "automatic_async", "manual")

_TEXTS = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
_COMMON = (
    *_TEXTS,
    "allowed_payment_method_types",
    "amount",
    "capture_method",
    "currency",
    "expand",
    "metadata",
    "payment_method",
    "payment_method_options",
    "payment_method_types",
    "setup_future_usage",
    "shipping",
)
_CONFIRM_ONLY = ("error_on_requires_action", "off_session", "return_url")
CREATE = (
    *_COMMON,
    *_CONFIRM_ONLY,
    "automatic_payment_methods",
    "confirm",
    "confirmation_method",
    "use_stripe_sdk",
)
UPDATE = _COMMON
CONFIRM = (
    *_CONFIRM_ONLY,
    "capture_method",
    "expand",
    "payment_method",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "use_stripe_sdk",
)
CAPTURE = (
    "amount_to_capture",
    "expand",
    "final_capture",
    "metadata",
    "statement_descriptor",
    "statement_descriptor_suffix",
)
CANCEL = ("cancellation_reason", "expand")
CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")

DECIDED = ("amount", "capture_method", "currency", "payment_method", "payment_method_types")
"""What cannot change once a payment is authorized, done or canceled."""


def require_confirm(given: Parameters, *, confirm: bool) -> None:
    """Refuse parameters that only a confirmation takes, on a creation that does not confirm."""
    if confirm:
        return
    for name in _CONFIRM_ONLY:
        if name in given:
            raise InvalidParameter(
                f"The parameter `{name}` can only be used with `confirm` set to true.", param=name
            )


def new_fields(given: Parameters) -> Json:
    """The fields of a new payment intent that its parameters decide.

    Raises:
        InvalidParameter: one is missing, malformed, or contradicts another.
    """
    amount = given.positive("amount")
    if amount is None:
        given.required("amount")
    currency = checked_currency(given.required("currency"))
    if "automatic_payment_methods" in given and "payment_method_types" in given:
        raise InvalidParameter(
            "You may only specify one of these parameters: automatic_payment_methods, "
            "payment_method_types.",
            param="payment_method_types",
        )
    fields = changed_fields(given)
    fields |= {
        "amount": checked_amount(amount or 0, currency),
        "automatic_payment_methods": _automatic_payment_methods(given),
        "capture_method": fields.get("capture_method") or "automatic_async",
        "confirmation_method": given.choice("confirmation_method", ("automatic", "manual"))
        or "automatic",
        "currency": currency,
        "metadata": given.metadata(),
    }
    return fields


def changed_fields(given: Parameters, intent: Json | None = None) -> Json:
    """The fields that the parameters change; those not mentioned are left out."""
    fields: Json = {name: given.text(name) for name in _TEXTS if name in given}
    if "currency" in given:
        fields["currency"] = checked_currency(given.required("currency"))
    if intent is not None and ("amount" in given or "currency" in given):
        amount = given.positive("amount") or intent["amount"]
        fields["amount"] = checked_amount(amount, str((intent | fields)["currency"]))
    if "capture_method" in given:
        fields["capture_method"] = given.choice("capture_method", CAPTURE_METHODS)
    if "setup_future_usage" in given:
        choices = ("on_session", "off_session")
        fields["setup_future_usage"] = given.choice("setup_future_usage", choices)
    if "shipping" in given:
        fields["shipping"] = given.free("shipping")
    if "payment_method_options" in given:
        fields["payment_method_options"] = given.free("payment_method_options") or {}
    if "metadata" in given:
        fields["metadata"] = given.metadata(intent["metadata"] if intent else None)
    # The first name is the pinned version's, the second one that of versions before it.
    for name in ("allowed_payment_method_types", "payment_method_types"):
        if any(kind != "card" for kind in given.strings(name) or []):
            raise InvalidParameter(
                "A payment method type provided is invalid. The sandbox has only card.", param=name
            )
    return fields


def _automatic_payment_methods(given: Parameters) -> Json | None:
    if "payment_method_types" in given:
        return None
    name = "automatic_payment_methods"
    automatic = given.nested(name, ("enabled", "allow_redirects"))
    if automatic is None:
        # Stripe, since version 2023-08-16: enabled unless payment_method_types are given.
        return {"allow_redirects": "always", "enabled": True}
    enabled = automatic.boolean("enabled")
    if enabled is None:
        automatic.required("enabled")
    redirects = automatic.choice("allow_redirects", ("always", "never"))
    return {"allow_redirects": redirects or "always", "enabled": True} if enabled else None
