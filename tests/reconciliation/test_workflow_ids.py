"""What activities and workflows call the same thing is the same thing."""

from activities.reconciliation import ORDER_WORKFLOW
from ticketing.workflow_ids import order_workflow_id, refund_workflow_id
from workflows import order, refund
from workflows.order import OrderWorkflow


def test_an_orders_workflow_has_one_id_wherever_it_is_asked_for() -> None:
    assert order_workflow_id("1") == order.order_workflow_id("1")
    assert refund_workflow_id("1") == refund.refund_workflow_id("1")


def test_the_workflows_that_are_searched_for_are_those_of_orders() -> None:
    assert OrderWorkflow.__name__ == ORDER_WORKFLOW
