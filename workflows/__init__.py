"""Decisions: deterministic, replayable, and the only ones that move an order."""

from workflows.order import OrderWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.refund import RefundWorkflow

WORKFLOWS: list[type] = [OrderWorkflow, RefundWorkflow, ReconciliationWorkflow]
"""Every workflow that a worker carries out."""
