"""Turns HTTP and WebSocket bytes into events, and effects into bytes. No thought about jobs here."""
