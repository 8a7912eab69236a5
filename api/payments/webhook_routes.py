"""The webhook endpoint for Stripe's events."""

from typing import Annotated

from fastapi import APIRouter, Header, Request

from api.dependencies import Settings, StripeWebhooks
from api.http.models import ApiModel
from api.http.problems import problems
from ticketing.errors import (
    InvalidSignature,
    MongoDBUnavailable,
    RouteNotFound,
    TemporalUnavailable,
)
from ticketing.payments.webhooks import read_event

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])


class Received(ApiModel):
    """The event was accepted; Stripe need not send it again."""

    received: bool = True


@router.post(
    "/stripe",
    responses=problems(InvalidSignature, RouteNotFound, MongoDBUnavailable, TemporalUnavailable),
)
async def take_stripe_event(
    request: Request,
    settings: Settings,
    webhooks: StripeWebhooks,
    signature: Annotated[str, Header(alias="Stripe-Signature")] = "",
) -> Received:
    """Receive an event signed by Stripe; 404 while no `STRIPE_WEBHOOK_SECRET` is set."""
    if not settings.stripe.webhook_secret.get_secret_value():
        raise RouteNotFound
    event = read_event(await request.body(), signature, settings.stripe.webhook_secret)
    if event is not None:
        await webhooks.take(event)
    return Received()
