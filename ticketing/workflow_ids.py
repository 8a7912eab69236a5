"""What names a workflow, for those below the workflows."""


def order_workflow_id(order_id: str) -> str:
    """The id of the workflow that carries out the order; `workflows.order` gives the same."""
    return f"order:{order_id}"


def refund_workflow_id(order_id: str) -> str:
    """The id of the workflow that refunds the order; `workflows.refund` gives the same."""
    return f"refund:{order_id}"
