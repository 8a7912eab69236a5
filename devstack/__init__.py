"""The embedded stack: a real MongoDB, Temporal and Stripe sandbox on one machine.

For development, tests and benchmarks; the app never imports it.
"""
