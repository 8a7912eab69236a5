"""docker-compose.yml as data, with its variables filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"

# ${NAME:?message} and ${NAME:-default}, the two forms that the file uses
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+):(?P<kind>[?-])(?P<rest>[^}]*)\}")


def variables() -> dict[str, bool]:
    """The variables that the file asks for, and whether each is required."""
    found = VARIABLE.finditer(COMPOSE_FILE.read_text())
    return {match["name"]: match["kind"] == "?" for match in found}


def compose(environ: Mapping[str, str]) -> dict[str, Any]:
    """The file as the container engine would see it with this environment.

    Raises:
        LookupError: a required variable is missing; it carries the file's own message.
    """
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(COMPOSE_FILE.read_text())
    return {key: _filled_in(value, environ) for key, value in loaded.items()}


def _filled_in(node: Any, environ: Mapping[str, str]) -> Any:
    """The node with its variables replaced, after parsing as the engine does it."""

    def value(match: re.Match[str]) -> str:
        given = environ.get(match["name"], "")
        if not given and match["kind"] == "?":
            raise LookupError(f"{match['name']}: {match['rest']}")
        return given or (match["rest"] if match["kind"] == "-" else "")

    if isinstance(node, dict):
        return {key: _filled_in(child, environ) for key, child in node.items()}
    if isinstance(node, list):
        return [_filled_in(child, environ) for child in node]
    return VARIABLE.sub(value, node).replace("$$", "$") if isinstance(node, str) else node
