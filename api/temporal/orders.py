"""How an order's workflow is started: what it is called, found by, and shown as."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from ticketing.workflow_ids import order_workflow_id
from workflows.orders import OrderInput, OrderState, OrderWorkflow
from workflows.search_attributes import BUYER_ID, SELLER_ID, TICKET_ID

WORKFLOW_TASK_TIMEOUT = timedelta(seconds=5)
"""After this another worker takes over from one that died; the request still waits then."""


@dataclass(frozen=True)
class Offer:
    """What the buyer saw, and whose it is."""

    seller_id: str
    price: int
    """In the currency's minor unit."""
    currency: str


def order_start(
    order: OrderInput, offer: Offer, task_queue: str
) -> WithStartWorkflowOperation[OrderWorkflow, OrderState]:
    """The start of one order's one workflow; it cannot be used twice."""
    return WithStartWorkflowOperation(
        OrderWorkflow.run,
        order,
        id=order_workflow_id(order.order_id),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        task_timeout=WORKFLOW_TASK_TIMEOUT,
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(TICKET_ID, order.ticket_id),
                SearchAttributePair(BUYER_ID, order.buyer_id),
                SearchAttributePair(SELLER_ID, offer.seller_id),
            ]
        ),
        static_summary=(
            f"Ticket {order.ticket_id} for {offer.price} {offer.currency} (minor units)"
        ),
        static_details=(
            f"Buyer {order.buyer_id} buys ticket {order.ticket_id} "
            f"of seller {offer.seller_id}.\n\n"
            f"The order is `{order.order_id}` in the `orders` collection."
        ),
    )
