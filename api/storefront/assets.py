"""Style sheet, scripts and icon: ours, and htmx from the wheel that carries it."""

import hashlib
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from api.http.paths import STATIC_PATH

STATIC = Path(__file__).parent / "static"
HTMX_PACKAGE, HTMX_FILES = "django_htmx", "static/django_htmx"

A_YEAR = "public, max-age=31536000, immutable"


class _Files(StaticFiles):
    """Files that browsers keep for a year: their addresses change with their contents."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = A_YEAR
        return response


def static_files() -> ASGIApp:
    """Serves them, compressed: nothing in them is secret or depends on who asks."""
    return GZipMiddleware(_Files(directory=STATIC, packages=[(HTMX_PACKAGE, HTMX_FILES)]))


@cache
def asset(name: str) -> str:
    """The address of a file, which is another one once the file has changed."""
    digest = hashlib.sha256(_file(name).read_bytes()).hexdigest()[:12]
    return f"{STATIC_PATH}/{name}?v={digest}"


def _file(name: str) -> Path:
    own = STATIC / name
    if own.exists():
        return own
    package = find_spec(HTMX_PACKAGE)
    assert package is not None  # installed with the application  # noqa: S101
    assert package.origin is not None  # noqa: S101
    return Path(package.origin).parent / HTMX_FILES / name
