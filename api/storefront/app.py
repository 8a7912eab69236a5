"""The storefront: a sub-application whose errors are pages, beside the JSON API."""

from fastapi import APIRouter, Depends
from starlette.datastructures import URLPath
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from api.dependencies import refuse_foreign_cookie
from api.http.errors import error_handlers
from api.http.paths import is_for_programs
from api.storefront import accounts, browsing, buying, sales, selling
from api.storefront.errors import render_refusal


class Storefront(BaseRoute):
    """Every path that is not for programs, whatever characters it holds."""

    def __init__(self) -> None:
        router = APIRouter(
            dependencies=[Depends(refuse_foreign_cookie)],
            include_in_schema=False,
            redirect_slashes=False,
        )
        for pages in (browsing, accounts, selling, buying, sales):
            router.include_router(pages.router)
        handlers = error_handlers(render_refusal, router.routes)
        self._app = ExceptionMiddleware(router, handlers)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or is_for_programs(scope):
            return Match.NONE, {}
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        raise NoMatchFound(name, path_params)
