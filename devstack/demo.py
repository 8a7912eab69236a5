"""`make demo`: creates a small market in the running stack, through its own API.

Run again, it creates only what is missing, such as reservations that have expired.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from devstack.demo_listings import ACCOUNTS, LISTINGS, PASSWORD, SELLERS, Account, Listing
from devstack.process import StackError
from devstack.settings import read_stack_settings
from ticketing.statuses import ChargeStatus, TicketStatus

Json = dict[str, Any]

PAYMENT_METHOD = "pm_card_visa"
TIMEOUT_SECONDS = 30
PAGE_SIZE = 100


class DemoError(Exception):
    """What keeps the demo from filling the market, in a line or two."""


class DemoUser:
    """A signed-in account of the demo."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def tickets(self) -> dict[str, Json]:
        """The tickets that the user sells or has sold, by title."""
        query: dict[str, str | int] = {"seller": "me", "status": "all", "limit": PAGE_SIZE}
        found: dict[str, Json] = {}
        while True:
            page = _body(self._http.get("/api/tickets", params=query))
            found |= {ticket["title"]: ticket for ticket in page["items"]}
            if page["nextCursor"] is None:
                return found
            query["cursor"] = page["nextCursor"]

    def sell(self, listing: Listing) -> Json:
        """List a ticket for sale."""
        offer = {"title": listing.title, "price": listing.price}
        return _body(self._http.post("/api/tickets", json=offer))

    def reserve(self, ticket: Json) -> Json | None:
        """The order that reserves the ticket; None if somebody else was faster."""
        answer = self._http.post("/api/orders", json={"ticketId": ticket["id"]})
        return None if answer.status_code == httpx.codes.CONFLICT else _body(answer)

    def pay(self, order: Json) -> bool:
        """Pay for an order; whether the payment is completed already."""
        payment = {"orderId": order["id"], "paymentMethod": PAYMENT_METHOD}
        charge = _body(self._http.post("/api/payments", json=payment))
        return bool(charge["status"] == ChargeStatus.COMPLETED)


def main() -> int:
    """Fill the market and print a summary; 1 if that fails."""
    try:
        url = read_stack_settings().urls["api"]
        sys.stdout.write(f"{fill_market(url)}\n\n{_sign_in_help(url)}\n")
    except (DemoError, StackError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def fill_market(url: str) -> str:
    """Create what is missing in the market at the URL; a summary of what was created and exists.

    Raises:
        DemoError: the market does not answer, or refuses a request.
    """
    try:
        with ExitStack() as sessions:
            people = {
                account: sessions.enter_context(_signed_in(url, account)) for account in ACCOUNTS
            }
            made = _create_missing(people)
            return _report(made, _find_listings(people))
    except httpx.RequestError:
        raise DemoError(
            f"Holdfast does not answer at {url}.\n"
            "Start it in another terminal with `make run`; where it runs on another port, name "
            "that one: API_PORT=8001 make demo"
        ) from None


@contextmanager
def _signed_in(url: str, account: Account) -> Iterator[DemoUser]:
    user = {"email": account.email, "password": PASSWORD}
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
        answer = http.post("/api/users/signin", json=user)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            answer = http.post("/api/users/signup", json=user)
        if answer.status_code == httpx.codes.CONFLICT:
            raise DemoError(f"{account.email} has another password here than the demo's")
        _body(answer)
        yield DemoUser(http)


def _create_missing(people: Mapping[Account, DemoUser]) -> Counter[str]:
    made: Counter[str] = Counter()
    listed = _find_listings(people)
    for listing in LISTINGS:
        if listing not in listed:
            listed[listing] = people[listing.seller].sell(listing)
            made["listed"] += 1
    for listing, ticket in listed.items():
        if listing.sold_to and ticket["status"] != TicketStatus.SOLD:
            outcome = _buy(people[listing.sold_to], ticket)
            made.update([outcome] if outcome else [])
        if listing.reserved_for and ticket["status"] == TicketStatus.AVAILABLE:
            made["reserved"] += people[listing.reserved_for].reserve(ticket) is not None
    return made


def _buy(buyer: DemoUser, ticket: Json) -> str | None:
    """The state of the ticket after the purchase; None if somebody else was faster."""
    order = buyer.reserve(ticket)
    if order is None:
        return None
    return "sold" if buyer.pay(order) else "still being paid"


def _find_listings(people: Mapping[Account, DemoUser]) -> dict[Listing, Json]:
    offered = {account: people[account].tickets() for account in SELLERS}
    return {
        listing: offered[listing.seller][listing.title]
        for listing in LISTINGS
        if listing.title in offered[listing.seller]
    }


def _body(answer: httpx.Response) -> Json:
    """The answer's JSON.

    Raises:
        DemoError: the answer is an error, or not one of Holdfast's.
    """
    request = f"{answer.request.method} {answer.request.url}"
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise DemoError(f"{request} is answered by something other than Holdfast")
    if not answer.is_success:
        raise DemoError(f"{request} is refused: {answer.status_code} {body.get('detail', '')}")
    return body


def _report(made: Mapping[str, int], listed: Mapping[Listing, Json]) -> str:
    news = ", ".join(f"{count} {what}" for what, count in made.items() if count)
    statuses = Counter(ticket["status"] for ticket in listed.values())
    counts = ", ".join(f"{statuses[status]} {status}" for status in TicketStatus)
    lines = [
        f"Just now: {news}." if news else "Nothing was missing.",
        f"The market has {len(listed)} demo tickets: {counts}.",
        "Reservations expire; `make demo` creates them again.",
    ]
    return "\n".join(lines)


def _sign_in_help(url: str) -> str:
    width = max(len(account.email) for account in ACCOUNTS)
    lines = [f"  Storefront  {url}/", "", f"  Sign in with the password “{PASSWORD}” as:"]
    lines += [f"    {account.email.ljust(width)}  {account.role}" for account in ACCOUNTS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
