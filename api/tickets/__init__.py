"""Tickets: listed, edited, browsed and followed."""
