"""The output of `make run`: each part's lines under its name, and the addresses to start from."""

import sys
from threading import Lock

from devstack.settings import StackSettings
from stripe_sandbox.cards import CARDS_BY_TOKEN

COLOURS = {"worker": "\033[36m", "api": "\033[35m", "stack": "\033[32m"}
PLAIN = "\033[0m"
NAME_WIDTH = max(map(len, COLOURS))

SHOWN_PAYMENT_METHODS = (
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_authenticationRequired",
)


class Console:
    """Prints whole lines, each with the name of its part."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_coloured = sys.stdout.isatty()

    def print(self, name: str, line: str) -> None:
        """Print a line of a part."""
        prefix = f"{name.ljust(NAME_WIDTH)} |"
        if self._is_coloured:
            prefix = f"{COLOURS.get(name, '')}{prefix}{PLAIN}"
        with self._lock:
            sys.stdout.write(f"{prefix} {line}\n")
            sys.stdout.flush()

    def print_error(self, text: str) -> None:
        """Print an error message to stderr."""
        with self._lock:
            sys.stderr.write(f"{text}\n")

    def print_message(self, text: str) -> None:
        """Print a message of the stack itself."""
        for line in text.splitlines():
            self.print("stack", line)


def welcome(settings: StackSettings, seconds: float) -> str:
    """The addresses of all parts, and payment methods to try."""
    urls = settings.urls
    lines = [
        f"Holdfast is up, in {seconds:.1f} s. Ctrl-C stops it; its data stay in "
        f"{settings.stack_dir}/.",
        "",
        f"  Storefront         {urls['api']}/",
        f"  API documentation  {urls['api']}/docs",
        f"  Temporal Web UI    {urls['temporal_ui']}",
        f"  Metrics            {urls['api_metrics']} and {urls['worker_metrics']}",
    ]
    if settings.uses_sandbox:
        lines.append(f"  Stripe sandbox     {urls['stripe_sandbox']}")
    else:
        lines.append("  Stripe             as STRIPE_API_KEY says; no sandbox")
    lines += ["", "  Payment methods to try, and the test cards they stand for:"]
    width = max(map(len, SHOWN_PAYMENT_METHODS))
    for token in SHOWN_PAYMENT_METHODS:
        card = CARDS_BY_TOKEN[token]
        lines.append(f"    {token.ljust(width)}  {card.number}  {card.summary}")
    lines += ["", "  `make demo` fills the market with tickets."]
    return "\n".join(lines)
