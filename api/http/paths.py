"""Which paths are for programs; all others are pages, for people."""

from starlette.types import Scope

STATIC_PATH = "/static"

PROGRAM_PATHS = frozenset(
    {"api", "docs", "openapi.json", "healthz", "readyz", "static", "static-offline-docs"}
)
"""The first segments of the paths that only programs ask for."""


def is_for_programs(scope: Scope) -> bool:
    """Whether the path is no page's."""
    path: str = scope["path"]
    return path.removeprefix("/").partition("/")[0] in PROGRAM_PATHS
