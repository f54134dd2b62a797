"""Calls to addresses that submitters name when their job waits and when it has ended (WIRE 7)."""
