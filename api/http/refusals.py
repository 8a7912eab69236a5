"""A refusal in the form that its reader can use: a page for people, a problem for programs."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Scope

from api.http.problems import ProblemResponse
from api.storefront.errors import error_page, wants_page
from ticketing.errors import TicketingError


def refusal(
    scope: Scope, error: TicketingError, headers: Mapping[str, str] | None = None
) -> Response:
    """Tell whoever sent the request why it is refused."""
    if wants_page(scope):
        return error_page(scope, error, headers)
    return ProblemResponse(error, headers)
