"""What nobody asks for costs nothing: it is not there."""

import pytest
from pydantic import SecretStr

from api.app import create_app
from api.http.metrics import RequestMetricsMiddleware
from api.http.spans import RequestSpansMiddleware
from tests.settings import api_settings
from ticketing.settings import ApiSettings, MetricsSettings, MongoDBSettings, TracingSettings

WATCHING = {RequestMetricsMiddleware, RequestSpansMiddleware}


@pytest.fixture
def settings() -> ApiSettings:
    nowhere = MongoDBSettings(url=SecretStr("mongodb://127.0.0.1:1"))
    return api_settings(nowhere)


def watching(settings: ApiSettings) -> set[type[object]]:
    """What of ours each request passes through, to be measured or traced."""
    return WATCHING & {middleware.cls for middleware in create_app(settings).user_middleware}


def test_requests_are_neither_measured_nor_traced_unless_a_setting_says_so(
    settings: ApiSettings,
) -> None:
    assert watching(settings) == set()

    metrics = MetricsSettings(address="127.0.0.1:9464")
    tracing = TracingSettings(endpoint="http://127.0.0.1:4318")
    assert watching(settings.model_copy(update={"metrics": metrics})) == {RequestMetricsMiddleware}
    assert watching(settings.model_copy(update={"tracing": tracing})) == {RequestSpansMiddleware}
