"""The gateway to Stripe: the only place that imports `stripe`."""
