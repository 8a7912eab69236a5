"""What the API has acknowledged: it must stand at the end, whatever was killed (I8)."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ListedTicket:
    """A 201 of `POST /api/tickets`."""

    id: str
    price: int
    """In the currency's minor unit."""


@dataclass(frozen=True)
class ReservedOrder:
    """A 201 or 200 of `POST /api/orders`."""

    id: str
    ticket_id: str
    buyer_id: str
    price: int
    """What the buyer was told, in the currency's minor unit."""
    named: int | None = None
    """The price that the buyer agreed to, where the request named one."""


@dataclass
class Promises:
    """Everything that was acknowledged; ids are of orders, where nothing else is said."""

    users: set[str] = field(default_factory=set)
    listed: list[ListedTicket] = field(default_factory=list)
    reserved: dict[str, ReservedOrder] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    declined: set[str] = field(default_factory=set)
    """Charges: each failed for good."""
    cancelled: set[str] = field(default_factory=set)
    refunded: set[str] = field(default_factory=set)
    """Orders whose refund was answered as done."""
    asked_to_refund: set[str] = field(default_factory=set)
    """Orders for which a refund was asked for, whatever the answer."""
    withdrawn: set[str] = field(default_factory=set)
    """Tickets."""
    asked_to_withdraw: set[str] = field(default_factory=set)
    """Tickets, whatever the answer."""
