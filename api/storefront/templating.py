"""The Jinja environment of the pages' templates."""

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.storefront.assets import asset
from api.storefront.form_tokens import CSRF_FIELD
from ticketing.money import examples, format_amount, plain_amount

TEMPLATE_DIRECTORY = Path(__file__).parent / "templates"


def when(instant: datetime) -> str:
    """A date and time for people, to the minute."""
    return f"{instant:%-d %B %Y, %H:%M} UTC"


def make_environment() -> Environment:
    """With `StrictUndefined`: an undefined name in a template is an error, as in Python."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATE_DIRECTORY),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"asset": asset, "FORM_TOKEN": CSRF_FIELD}
    made.filters |= {"money": format_amount, "plain": plain_amount, "when": when}
    made.filters["examples"] = examples
    return made


TEMPLATES = make_environment()
