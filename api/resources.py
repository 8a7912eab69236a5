"""The long-lived objects that requests use, created once per process."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from opentelemetry.trace import Tracer
from pymongo import AsyncMongoClient
from starlette.applications import Starlette

from api.http.metrics import RequestMetrics
from api.http.rate_limits import RateLimiter
from api.orders.refusal_counter import RefusalCounter
from api.orders.reservations import ReservationsInFlight
from api.payments.charge_feed import ChargeFeed
from api.temporal.admission import Admission
from api.temporal.connection import TemporalConnection
from api.temporal.orders import OrderWorkflowClient
from api.temporal.reconciliation import ReconciliationClient
from api.temporal.refunds import RefundWorkflowClient
from api.tickets.feed import TicketFeed
from api.users.passwords import Passwords
from api.users.sessions import SessionService
from ticketing.mongodb import BSONDocument
from ticketing.settings import ApiSettings


@dataclass(frozen=True)
class Resources:
    """Settings, connections, and the state that this process keeps between requests."""

    settings: ApiSettings
    mongo: AsyncMongoClient[BSONDocument]
    temporal: TemporalConnection
    tracer: Tracer
    request_metrics: RequestMetrics
    refusal_counter: RefusalCounter
    rate_limits: RateLimiter
    sessions: SessionService
    admission: Admission = field(default_factory=Admission)
    passwords: Passwords = field(default_factory=Passwords)
    ticket_feed: TicketFeed = field(default_factory=TicketFeed)
    charge_feed: ChargeFeed = field(default_factory=ChargeFeed)
    reservations_in_flight: ReservationsInFlight = field(default_factory=ReservationsInFlight)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process has been told to stop."""

    @property
    def order_workflows(self) -> OrderWorkflowClient:
        return OrderWorkflowClient(self.temporal, self.settings.task_queue)

    @property
    def refund_workflows(self) -> RefundWorkflowClient:
        return RefundWorkflowClient(self.temporal, self.settings.task_queue)

    @property
    def reconciliation(self) -> ReconciliationClient:
        return ReconciliationClient(self.temporal, self.settings.task_queue)


def resources_of(app: Starlette) -> Resources:
    """The resources of an app whose lifespan has started."""
    return cast(Resources, app.state.resources)
