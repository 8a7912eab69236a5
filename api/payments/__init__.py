"""Payments, and what Stripe says of them."""
