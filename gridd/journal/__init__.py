"""The durable log. ``base.Journal`` is the door; ``files`` and ``memory`` stand behind it."""
