"""The engine's own numbers. Defaults are the protocol's limits; tests and operators may differ."""

from dataclasses import dataclass

from gridd_protocol import limits


@dataclass(frozen=True, slots=True)
class Settings:
    lease_ms: int = limits.LEASE_MS  # silence after which a worker loses its jobs
    heartbeat_ms: int = limits.HEARTBEAT_MS  # what workers are asked for; well below lease_ms
    attempts_max: int = limits.ATTEMPTS_MAX  # losses after which a job is given up
    live_jobs_max: int = limits.LIVE_JOBS_PER_QUEUE_MAX
    queues_max: int = limits.QUEUES_MAX  # of the whole grid (daemon.py)
    retention_ms: int = limits.RETENTION_MS  # an ended job is remembered this long
    log_retention_ms: int = limits.LOG_RETENTION_MS  # its logs at least this long (upkeep.py)
    expire_batch: int = 1_000  # jobs forgotten in one step, so that a step stays short
