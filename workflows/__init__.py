"""Workflows: deterministic decisions; only they change the state of an order."""

from workflows.orders import OrderWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.refunds import RefundWorkflow

WORKFLOWS: list[type] = [OrderWorkflow, RefundWorkflow, ReconciliationWorkflow]
"""Every workflow that a worker carries out."""
