"""The queue engine: pure, deterministic, free of I/O, clock, chance and asyncio.

``engine.Engine`` is the face. ``events`` go in, ``effects`` come out, ``records`` are what the
journal keeps. See docs/architecture.md.
"""
