"""Static files: our style sheet, scripts and icon, and htmx from the django-htmx package."""

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

STATIC_DIRECTORY = Path(__file__).parent / "static"
HTMX_PACKAGE, HTMX_FILES = "django_htmx", "static/django_htmx"

IMMUTABLE = "public, max-age=31536000, immutable"


class ImmutableFiles(StaticFiles):
    """Static files with a year of browser cache: their URLs change with their contents."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = IMMUTABLE
        return response


def static_files() -> ASGIApp:
    """The static files, compressed; safe because none is secret or depends on the user."""
    return GZipMiddleware(
        ImmutableFiles(directory=STATIC_DIRECTORY, packages=[(HTMX_PACKAGE, HTMX_FILES)])
    )


@cache
def asset(name: str) -> str:
    """The URL of a file, with a hash of its contents."""
    digest = hashlib.sha256(_file(name).read_bytes()).hexdigest()[:12]
    return f"{STATIC_PATH}/{name}?v={digest}"


def _file(name: str) -> Path:
    own = STATIC_DIRECTORY / name
    if own.exists():
        return own
    package = find_spec(HTMX_PACKAGE)
    assert package is not None  # a dependency of the application  # noqa: S101
    assert package.origin is not None  # noqa: S101
    return Path(package.origin).parent / HTMX_FILES / name
