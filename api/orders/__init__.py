"""Orders: reserved, read and cancelled; their timelines."""
