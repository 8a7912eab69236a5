"""Decisions: deterministic, replayable, and the only ones that move an order."""

from workflows.order import OrderWorkflow

WORKFLOWS: list[type] = [OrderWorkflow]
"""Every workflow that a worker carries out."""
