"""The pages' templates, and what all of them can say."""

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.storefront.assets import asset
from api.storefront.form_tokens import FIELD
from ticketing.money import examples, format_amount, plain_amount

TEMPLATES = Path(__file__).parent / "templates"


def when(instant: datetime) -> str:
    """An instant as people read it, to the minute."""
    return f"{instant:%-d %B %Y, %H:%M} UTC"


def environment() -> Environment:
    """A name that a template uses and was not given is an error, as it is in Python."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"asset": asset, "FORM_TOKEN": FIELD}
    made.filters |= {"money": format_amount, "plain": plain_amount, "when": when}
    made.filters["examples"] = examples
    return made


PAGES = environment()
