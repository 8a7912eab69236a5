"""Reconciliation: find candidates, take snapshots of them, record violations, repair."""
