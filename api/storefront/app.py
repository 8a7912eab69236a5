"""The storefront: a sub-application whose errors are pages, beside the JSON API."""

from fastapi import APIRouter, Depends
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Match, Mount
from starlette.types import Scope

from api.dependencies import refuse_foreign_cookie
from api.http.errors import error_handlers
from api.http.paths import is_for_programs
from api.storefront import accounts, browsing, buying, sales, selling
from api.storefront.errors import render_refusal


class Storefront(Mount):
    """Every path that is not for programs."""

    def __init__(self) -> None:
        router = APIRouter(
            dependencies=[Depends(refuse_foreign_cookie)],
            include_in_schema=False,
            redirect_slashes=False,
        )
        for pages in (browsing, accounts, selling, buying, sales):
            router.include_router(pages.router)
        handlers = error_handlers(render_refusal, router.routes)
        super().__init__("/", ExceptionMiddleware(router, handlers))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or is_for_programs(scope):
            return Match.NONE, {}
        return super().matches(scope)
