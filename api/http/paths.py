"""Which paths belong to the API and its documentation; all others are the storefront's pages."""

from starlette.types import Scope

STATIC_PATH = "/static"

NON_PAGE_SEGMENTS = frozenset(
    {"api", "docs", "openapi.json", "healthz", "readyz", "static", "static-offline-docs"}
)
"""First path segments of everything that is not a page."""


def is_page_path(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix("/").partition("/")[0] not in NON_PAGE_SEGMENTS
