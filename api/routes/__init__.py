"""A module per resource; each exposes `router`."""
