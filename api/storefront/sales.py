"""What a seller sees of a sale, and giving the money back."""

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import CurrentUser, Refunds, Timelines
from api.models import path_id
from api.storefront.dependencies import Page, SignedInForm
from api.storefront.pages import go_to
from ticketing.errors import Conflict, OrderNotFound

router = APIRouter()


@router.get("/sales/{order_id}")
async def show_sale(
    user: CurrentUser, order_id: str, refunds: Refunds, timelines: Timelines, page: Page
) -> Response:
    order = await refunds.sale(user.id, order_id)
    return page.show(
        "sale.html",
        may_be_done=("refund-requested",),
        order=order,
        timeline=await timelines.read(user.id, order_id),
    )


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
        return page.show(
            "sale.html",
            status=int(error.status),
            order=await refunds.sale(user.id, order_id),
            timeline=await timelines.read(user.id, order_id),
            alert=error.detail or error.title,
        )
    return go_to(f"/sales/{order_id}?done=refund-requested")


@router.get("/sales/{order_id}/refund")
async def look_at_sale(order_id: str) -> Response:
    """Where a refusal stands in the address bar, and is gone to again."""
    return go_to(f"/sales/{path_id(order_id, OrderNotFound)}")
