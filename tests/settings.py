"""The API's settings in tests: the default rules, secrets of the tests, no limits."""

from uuid import uuid4

from pydantic import SecretStr
from temporalio.envconfig import ClientConfigProfile

from ticketing.settings import (
    ApiSettings,
    LogSettings,
    MongoDBSettings,
    OperatorSettings,
    PurchaseSettings,
    RateLimitSettings,
    SessionSettings,
    StripeBrowserSettings,
)

NOBODY_LISTENS = "127.0.0.1:1"
JWT_KEY = "a-key-of-the-tests-that-is-long-enough"
WEBHOOK_SECRET = "whsec_of_the_tests"
OPERATOR_TOKEN = "the-operator-token-of-the-tests-is-long"


def api_settings(mongodb: MongoDBSettings, temporal_address: str = NOBODY_LISTENS) -> ApiSettings:
    """Settings for the given servers, and a task queue that nobody else uses."""
    return ApiSettings(
        mongodb=mongodb,
        temporal=ClientConfigProfile(address=temporal_address),
        task_queue=f"test-{uuid4().hex}",
        log=LogSettings(),
        session=SessionSettings(jwt_keys=(SecretStr(JWT_KEY),), cookie_secure=False),
        purchase=PurchaseSettings(),
        limits=RateLimitSettings(rate_limits="off"),
        stripe=StripeBrowserSettings(webhook_secret=SecretStr(WEBHOOK_SECRET)),
        operator=OperatorSettings(token=SecretStr(OPERATOR_TOKEN)),
    )


def settings_of_an_api_alone(mongodb: MongoDBSettings) -> ApiSettings:
    """Settings of an API that finds no Temporal, takes no webhooks and knows no operator."""
    changes = {"stripe": StripeBrowserSettings(), "operator": OperatorSettings()}
    return api_settings(mongodb).model_copy(update=changes)
