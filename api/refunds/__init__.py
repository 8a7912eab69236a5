"""Refunds by sellers."""
