"""What a seller sees of a sale, and giving the money back."""

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import CurrentUser, Refunds, Timelines
from api.http.models import path_id
from api.orders.timelines import ToldEntry
from api.storefront.dependencies import Page, SignedInForm
from api.storefront.pages import PageRoute, Pages, go_to
from ticketing.errors import Conflict, OrderNotFound
from ticketing.models import Order
from ticketing.statuses import OrderStatus, TimelineCode

router = APIRouter(route_class=PageRoute)

UNDER_WAY = (TimelineCode.REFUND_REQUESTED, TimelineCode.REFUND_DELAYED)


@router.get("/sales/{order_id}")
async def show_sale(
    user: CurrentUser, order_id: str, refunds: Refunds, timelines: Timelines, page: Page
) -> Response:
    order = await refunds.sale(user.id, order_id)
    return _show(page, order, await timelines.read(user.id, order_id))


@router.post("/sales/{order_id}/refund")
async def refund_sale(
    user: CurrentUser,
    order_id: str,
    form: SignedInForm,
    refunds: Refunds,
    timelines: Timelines,
    page: Page,
) -> Response:
    """Give the buyer the money back; asked again, it is the same refund."""
    try:
        await refunds.refund(user.id, order_id, relist=form.get("ticket") == "relist")
    except Conflict as error:
        order = await refunds.sale(user.id, order_id)
        return _show(page, order, await timelines.read(user.id, order_id), error)
    return go_to(f"/sales/{order_id}")


@router.get("/sales/{order_id}/refund")
async def look_at_sale(order_id: str) -> Response:
    """Where a refusal stands in the address bar, and is gone to again."""
    return go_to(f"/sales/{path_id(order_id, OrderNotFound)}")


def _show(
    page: Pages, order: Order, timeline: list[ToldEntry], refused: Conflict | None = None
) -> Response:
    is_asked_for = bool(timeline) and timeline[-1].code in UNDER_WAY
    return page.show(
        "sale.html",
        status=int(refused.status) if refused else 200,
        order=order,
        timeline=timeline,
        is_refund_under_way=order.status is OrderStatus.COMPLETED and is_asked_for,
        alert=refused and (refused.detail or refused.title),
    )
