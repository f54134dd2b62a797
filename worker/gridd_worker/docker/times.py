"""How long a container ran, by what the engine and the kernel say of it."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gridd_worker.docker.logs import parse_time


def duration_ms(state: dict[str, Any], otherwise: int) -> int:
    try:
        run_ns = parse_time(state["FinishedAt"]) - parse_time(state["StartedAt"])
        # A program that ends at once may have its end stamped before its start.
        return max(0, run_ns // 1_000_000)
    except (KeyError, ValueError):
        return otherwise


def age_s(container: str, state: dict[str, Any]) -> float:
    """Seconds since the container was started. By the age of its first process where that can be
    seen, because a wall clock may have been set since; a worker that is in a container itself
    sees other processes under these numbers."""
    with suppress(OSError, ValueError, IndexError, KeyError):
        process = Path(f"/proc/{state['Pid']}")
        if container not in (process / "cgroup").read_text():
            raise ValueError
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        up_s = float(Path("/proc/uptime").read_text().split()[0])
        age_s = up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, age_s)
    with suppress(KeyError, ValueError):
        return max(0.0, time.time() - parse_time(state["StartedAt"]) / 1e9)
    return 0.0
