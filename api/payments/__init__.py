"""Payments and Stripe's webhook events."""
