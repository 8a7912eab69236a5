"""The HTTP API and the storefront."""
