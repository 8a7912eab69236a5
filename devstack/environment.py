"""The environment variables of the API and the worker in the embedded stack."""

import os
from collections.abc import Mapping

from devstack.mongodb import mongodb_url
from devstack.ports import LOOPBACK
from devstack.process import StackError
from devstack.secrets_file import read_or_create_secrets
from devstack.settings import StackSettings
from ticketing.settings import SettingsError, read_api_settings, read_worker_settings

SANDBOX_API_KEY = "sk_test_sandbox"
SANDBOX_PUBLISHABLE_KEY = "pk_test_sandbox"
DATABASE = "holdfast"
NAMESPACE = "default"
TASK_QUEUE = "orders"

DEFAULTS = {
    "COOKIE_SECURE": "false",
    "LOG_FORMAT": "text",
    "RATE_LIMITS": "off",
    "TASK_QUEUE": TASK_QUEUE,
}
"""Defaults for one machine; the user's environment overrides them."""


def app_environment(settings: StackSettings, user: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, with the addresses and secrets of this stack."""
    own = read_or_create_secrets(settings.stack_dir / "secrets.env")
    environment = {
        # The user's profile for another Temporal server must not apply here.
        **{name: value for name, value in user.items() if not name.startswith("TEMPORAL_")},
        "API_HOST": LOOPBACK,
        "API_PORT": str(settings.api_port),
        "MONGODB_URL": mongodb_url(*settings.mongodb_ports),
        "MONGODB_DATABASE": DATABASE,
        "TEMPORAL_ADDRESS": settings.temporal_address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "PYTHONUNBUFFERED": "1",
    }
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, [user.get(name), LOOPBACK]))
    secrets = {name: own[name] for name in ("JWT_KEYS", "OPERATOR_TOKEN")}
    for name, value in {**secrets, **DEFAULTS}.items():
        environment[name] = user.get(name) or value
    if settings.uses_sandbox:
        environment |= {
            "STRIPE_API_KEY": SANDBOX_API_KEY,
            "STRIPE_PUBLISHABLE_KEY": SANDBOX_PUBLISHABLE_KEY,
            "STRIPE_API_BASE": settings.urls["stripe_sandbox"],
            "STRIPE_WEBHOOK_SECRET": own["STRIPE_WEBHOOK_SECRET"],
        }
    return environment


def check_app_settings(environment: Mapping[str, str]) -> None:
    """Check the settings of the worker and the API before anything starts.

    Raises:
        StackError: it names each setting that is missing or invalid.
    """
    ours = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        read_api_settings()
        read_worker_settings()
    except SettingsError as error:
        raise StackError(str(error)) from None
    finally:
        os.environ.clear()
        os.environ.update(ours)
