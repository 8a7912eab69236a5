"""Decisions: deterministic, replayable, and the only ones that move an order."""

from workflows.orders import OrderWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.refunds import RefundWorkflow

WORKFLOWS: list[type] = [OrderWorkflow, RefundWorkflow, ReconciliationWorkflow]
"""Every workflow that a worker carries out."""
