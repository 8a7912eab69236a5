"""Measurements: a timing never decides a test; it is taken here, with its circumstances."""
