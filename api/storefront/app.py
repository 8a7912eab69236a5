"""The storefront: a sub-application beside the JSON API, with error pages of its own."""

from fastapi import APIRouter, Depends
from starlette.datastructures import URLPath
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from api.dependencies import refuse_cross_origin_cookie
from api.http.errors import error_handlers
from api.http.paths import is_page_path
from api.storefront import routes
from api.storefront.errors import render_refusal


class Storefront(BaseRoute):
    """All paths that do not belong to the API, its documentation or the static files."""

    def __init__(self) -> None:
        router = APIRouter(
            dependencies=[Depends(refuse_cross_origin_cookie)],
            redirect_slashes=False,
        )
        router.include_router(routes.router)
        handlers = error_handlers(render_refusal, router.routes)
        self._app = ExceptionMiddleware(router, handlers)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not is_page_path(scope):
            return Match.NONE, {}
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        raise NoMatchFound(name, path_params)
