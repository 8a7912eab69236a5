"""What names the workflows: part of their contract, never to be changed."""


def order_workflow_id(order_id: str) -> str:
    """The id of the workflow that carries out the order."""
    return f"order:{order_id}"


def refund_workflow_id(order_id: str) -> str:
    """The id of the workflow that refunds the order."""
    return f"refund:{order_id}"


def order_id_in(workflow_id: str) -> str | None:
    """The order that a workflow is about; None if it is about none, or about many."""
    kind, _, order_id = workflow_id.partition(":")
    return order_id if kind in ("order", "refund") else None
