""".env.example names every setting there is, and no other."""

import re

from pydantic_settings import BaseSettings

from devstack.settings import StackSettings
from tests.deploy.compose import REPOSITORY, variables
from ticketing import settings
from ticketing.payments.webhooks import ENABLED_EVENTS

FROM_TEMPORAL = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY"}
"""Read by Temporal's own client configuration."""


def _names(group: type[BaseSettings]) -> set[str]:
    prefix = group.model_config.get("env_prefix", "")
    return {f"{prefix}{field}".upper() for field in group.model_fields}


def known_settings() -> set[str]:
    """The environment variables that the API and the worker read."""
    groups = [
        group
        for group in vars(settings).values()
        if isinstance(group, type) and issubclass(group, BaseSettings)
    ]
    return {name for group in groups for name in _names(group)}


def test_it_names_every_setting_and_no_other() -> None:
    text = (REPOSITORY / ".env.example").read_text()
    named = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.MULTILINE)
    known = known_settings() | _names(StackSettings)
    assert len(named) == len(set(named))
    assert set(named) == known | FROM_TEMPORAL | set(variables())


def test_it_names_the_events_that_the_webhook_endpoint_is_to_be_enabled_for() -> None:
    text = (REPOSITORY / ".env.example").read_text()
    assert set(re.findall(r"\b(?:payment_intent|refund|charge)\.\w+", text)) == ENABLED_EVENTS


def test_what_compose_requires_is_not_commented_out() -> None:
    text = (REPOSITORY / ".env.example").read_text()
    open_names = set(re.findall(r"^([A-Z][A-Z_]+)=$", text, re.MULTILINE))
    required = {name for name, is_required in variables().items() if is_required}
    assert required <= open_names
