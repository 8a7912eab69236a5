"""A Stripe that runs on this machine: the official client talks to it unmodified.

It keeps state, honours idempotency keys, follows the payment intent's state machine, signs
and retries webhooks, shows the bank's authentication page, and breaks on demand.
No real card is ever accepted, and no money moves.
"""
