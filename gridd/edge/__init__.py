"""HTTP and WebSocket bytes into events, effects into bytes. No thought about jobs here."""
