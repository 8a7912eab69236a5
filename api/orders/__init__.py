"""Orders: reserved, read and cancelled."""
