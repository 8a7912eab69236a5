"""The dependencies of the pages' routes, besides those of the JSON routes."""

from typing import Annotated

from fastapi import Depends, Request

from api.dependencies import CurrentUser, OptionalUser, Settings
from api.resources import resources_of
from api.storefront.card_entry import CardEntry
from api.storefront.form_tokens import CSRF_FIELD, FormTokens
from api.storefront.forms import Form, read_form
from api.storefront.pages import VISIT_COOKIE, PageRenderer
from ticketing.errors import StaleForm


async def form_tokens(settings: Settings) -> FormTokens:
    return FormTokens(settings.session)


Tokens = Annotated[FormTokens, Depends(form_tokens)]


async def pages(
    request: Request, user: OptionalUser, tokens: Tokens, settings: Settings
) -> PageRenderer:
    return PageRenderer(request, user, tokens, settings.session.cookie_secure)


async def signed_in_form(request: Request, user: CurrentUser, tokens: Tokens) -> Form:
    form = await read_form(request)
    if not tokens.is_for_session(form.get(CSRF_FIELD, ""), user):
        raise StaleForm
    return form


async def visitor_form(request: Request, tokens: Tokens) -> Form:
    form = await read_form(request)
    visit = request.cookies.get(VISIT_COOKIE, "")
    if not visit or not tokens.is_for_visit(form.get(CSRF_FIELD, ""), visit):
        raise StaleForm
    return form


async def card_entry(settings: Settings) -> CardEntry:
    return CardEntry.from_settings(settings.stripe)


async def currency(settings: Settings) -> str:
    return settings.purchase.currency


async def position(request: Request) -> str | None:
    return await resources_of(request.app).ticket_feed.position()


Pages = Annotated[PageRenderer, Depends(pages)]
SignedInForm = Annotated[Form, Depends(signed_in_form)]
"""A form with the session's token; without a session 401, with another token 403."""
VisitorForm = Annotated[Form, Depends(visitor_form)]
"""A form for signing in or up with this browser's token; otherwise 403."""
Cards = Annotated[CardEntry, Depends(card_entry)]
Currency = Annotated[str, Depends(currency)]
Position = Annotated[str | None, Depends(position)]
"""The position of the ticket event stream before the page reads anything; None if unknown."""
