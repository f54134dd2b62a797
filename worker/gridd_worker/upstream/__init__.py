"""Upstream's protocol as a dialect of ours (WIRE 5, 6)."""
