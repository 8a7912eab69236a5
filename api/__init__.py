"""HTTP: routes, what they need, and how their refusals look."""
