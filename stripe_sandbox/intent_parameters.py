"""The parameters of a payment intent: which requests take them, and the fields they set."""

from stripe_sandbox.currencies import validate_amount, validate_currency
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

FIXED_ONCE_AUTHORIZED = (
    "amount",
    "capture_method",
    "currency",
    "payment_method",
    "payment_method_types",
)
"""What cannot change once a payment is authorized, captured or canceled."""


def reject_confirm_only(params: Parameters, *, confirm: bool) -> None:
    """Reject parameters of a confirmation on a creation that does not confirm."""
    if confirm:
        return
    for name in _CONFIRM_ONLY:
        if name in params:
            raise InvalidParameter(
                f"The parameter `{name}` can only be used with `confirm` set to true.", param=name
            )


def new_fields(params: Parameters) -> Json:
    """The fields of a new payment intent that its parameters decide.

    Raises:
        InvalidParameter: one is missing, malformed, or contradicts another.
    """
    amount = params.positive("amount")
    if amount is None:
        params.required("amount")
    currency = validate_currency(params.required("currency"))
    if "automatic_payment_methods" in params and "payment_method_types" in params:
        raise InvalidParameter(
            "You may only specify one of these parameters: automatic_payment_methods, "
            "payment_method_types.",
            param="payment_method_types",
        )
    fields = changed_fields(params)
    fields |= {
        "amount": validate_amount(amount or 0, currency),
        "automatic_payment_methods": _automatic_payment_methods(params),
        "capture_method": fields.get("capture_method") or "automatic_async",
        "confirmation_method": params.choice("confirmation_method", ("automatic", "manual"))
        or "automatic",
        "currency": currency,
        "metadata": params.metadata(),
    }
    return fields


def changed_fields(params: Parameters, intent: Json | None = None) -> Json:
    """The fields that the parameters change; those not mentioned are left out."""
    fields: Json = {name: params.text(name) for name in _TEXTS if name in params}
    if "currency" in params:
        fields["currency"] = validate_currency(params.required("currency"))
    if intent is not None and ("amount" in params or "currency" in params):
        amount = params.positive("amount") or intent["amount"]
        fields["amount"] = validate_amount(amount, str((intent | fields)["currency"]))
    if "capture_method" in params:
        fields["capture_method"] = params.choice("capture_method", CAPTURE_METHODS)
    if "setup_future_usage" in params:
        choices = ("on_session", "off_session")
        fields["setup_future_usage"] = params.choice("setup_future_usage", choices)
    if "shipping" in params:
        fields["shipping"] = params.mapping("shipping")
    if "payment_method_options" in params:
        fields["payment_method_options"] = params.mapping("payment_method_options") or {}
    if "metadata" in params:
        fields["metadata"] = params.metadata(intent["metadata"] if intent else None)
    # The first name is the pinned version's, the second one that of versions before it.
    for name in ("allowed_payment_method_types", "payment_method_types"):
        if any(kind != "card" for kind in params.strings(name) or []):
            raise InvalidParameter(
                "A payment method type provided is invalid. The sandbox has only card.", param=name
            )
    return fields


def _automatic_payment_methods(params: Parameters) -> Json | None:
    if "payment_method_types" in params:
        return None
    name = "automatic_payment_methods"
    automatic = params.nested(name, ("enabled", "allow_redirects"))
    if automatic is None:
        # Stripe, since version 2023-08-16: enabled unless payment_method_types are given.
        return {"allow_redirects": "always", "enabled": True}
    enabled = automatic.boolean("enabled")
    if enabled is None:
        automatic.required("enabled")
    redirects = automatic.choice("allow_redirects", ("always", "never"))
    return {"allow_redirects": redirects or "always", "enabled": True} if enabled else None
