"""Health probes and the operators' routes."""
