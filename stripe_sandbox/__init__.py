"""A local Stripe for development and tests; the official client talks to it unmodified.

It keeps state, honours idempotency keys, follows the payment intent's state machine, signs
and retries webhooks, shows the bank's authentication page, and has faults on demand.
Only test cards are accepted, and no money moves. README.md says how to use it.
"""
