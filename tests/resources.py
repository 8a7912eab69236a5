"""An app's resources, with some of them exchanged."""

from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from opentelemetry.trace import NoOpTracer
from pymongo import AsyncMongoClient
from temporalio.client import Client
from temporalio.common import MetricMeter

from api.http.metrics import RequestMetrics
from api.http.rate_limits import RateLimiter
from api.orders.refusal_counter import RefusalCounter
from api.resources import Resources, resources_of
from api.temporal.connection import TemporalConnection
from api.users.sessions import SessionService
from ticketing.settings import ApiSettings


def exchange(app: FastAPI, **resources: Any) -> None:
    """Give the app other resources, from its next request on."""
    app.state.resources = replace(resources_of(app), **resources)


def connected(client: Client) -> TemporalConnection:
    """The API's connection, by a client that there is already."""

    async def connect() -> Client:
        return client

    return TemporalConnection(connect)


def unconnected(settings: ApiSettings) -> Resources:
    """The resources of an app whose lifespan does not run, and which asks no database."""

    async def connect() -> Client:
        raise RuntimeError("nobody listens")

    return Resources(
        settings=settings,
        mongo=AsyncMongoClient(settings.mongodb.url.get_secret_value(), connect=False),
        temporal=TemporalConnection(connect),
        tracer=NoOpTracer(),
        request_metrics=RequestMetrics(MetricMeter.noop),
        refusal_counter=RefusalCounter(),
        rate_limits=RateLimiter(settings.limits),
        sessions=SessionService(settings.session),
    )
