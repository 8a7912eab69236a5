"""HTTP concerns that all routes share: errors, limits, pagination, metrics."""
