"""Beanie documents, a collection per file. Documents are data; rules live elsewhere."""

from beanie import Document

from ticketing.models.charge import Charge
from ticketing.models.order import Order, TicketSnapshot
from ticketing.models.rate_limit_window import RateLimitWindow
from ticketing.models.revoked_session import RevokedSession
from ticketing.models.stripe_event import StripeEvent
from ticketing.models.ticket import ListedTicket, ListingRequest, Ticket
from ticketing.models.timeline import TimelineEntry, append_to_timeline, timeline_entry
from ticketing.models.user import User
from ticketing.models.violation import (
    CheckedCounts,
    ReconciliationRun,
    ViolationRecord,
    ViolationStatus,
)

DOCUMENT_MODELS: list[type[Document]] = [
    User,
    Ticket,
    Order,
    Charge,
    StripeEvent,
    RevokedSession,
    RateLimitWindow,
    ViolationRecord,
    ReconciliationRun,
]

__all__ = [
    "DOCUMENT_MODELS",
    "Charge",
    "CheckedCounts",
    "ListedTicket",
    "ListingRequest",
    "Order",
    "RateLimitWindow",
    "ReconciliationRun",
    "RevokedSession",
    "StripeEvent",
    "Ticket",
    "TicketSnapshot",
    "TimelineEntry",
    "User",
    "ViolationRecord",
    "ViolationStatus",
    "append_to_timeline",
    "timeline_entry",
]
