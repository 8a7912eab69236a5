"""Pages of a seller's sales and refunds."""

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import CurrentUser, Refunds, Timelines
from api.http.models import path_id
from api.orders.timelines import RenderedTimelineEntry
from api.storefront.dependencies import Pages, SignedInForm
from api.storefront.pages import PageRenderer, PageRoute, redirect_to
from ticketing.errors import Conflict, OrderNotFound
from ticketing.models import Order
from ticketing.statuses import OrderStatus, TimelineCode

router = APIRouter(route_class=PageRoute)

REFUND_UNDER_WAY_CODES = (TimelineCode.REFUND_REQUESTED, TimelineCode.REFUND_DELAYED)


@router.get("/sales/{order_id}")
async def show_sale(
    user: CurrentUser, order_id: str, refunds: Refunds, timelines: Timelines, pages: Pages
) -> Response:
    order = await refunds.sale(user.id, order_id)
    return _show(pages, order, await timelines.read(user.id, order_id))


@router.post("/sales/{order_id}/refund")
async def refund_sale(
    user: CurrentUser,
    order_id: str,
    form: SignedInForm,
    refunds: Refunds,
    timelines: Timelines,
    pages: Pages,
) -> Response:
    """Refund the buyer; requested again, it is the same refund."""
    try:
        await refunds.refund(user.id, order_id, relist=form.get("ticket") == "relist")
    except Conflict as error:
        order = await refunds.sale(user.id, order_id)
        return _show(pages, order, await timelines.read(user.id, order_id), error)
    return redirect_to(f"/sales/{order_id}")


@router.get("/sales/{order_id}/refund")
async def redirect_refund(order_id: str) -> Response:
    """Redirects GETs of the form's POST address."""
    return redirect_to(f"/sales/{path_id(order_id, OrderNotFound)}")


def _show(
    pages: PageRenderer,
    order: Order,
    timeline: list[RenderedTimelineEntry],
    refused: Conflict | None = None,
) -> Response:
    is_asked_for = bool(timeline) and timeline[-1].code in REFUND_UNDER_WAY_CODES
    return pages.render(
        "sale.html",
        status=int(refused.status) if refused else 200,
        order=order,
        timeline=timeline,
        is_refund_under_way=order.status is OrderStatus.COMPLETED and is_asked_for,
        alert=refused and (refused.detail or refused.title),
    )
