"""What names the workflows: part of their contract, never to be changed."""


def order_workflow_id(order_id: str) -> str:
    """The id of the workflow that carries out the order."""
    return f"order:{order_id}"


def refund_workflow_id(order_id: str) -> str:
    """The id of the workflow that refunds the order."""
    return f"refund:{order_id}"
