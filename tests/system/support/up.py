"""``gridd up`` for the tests of a whole module: started once, ended with its worker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 15


@contextmanager
def grid_up(folder: Path, runtime: str) -> Iterator[str]:
    """Its URL. What it said stands in ``folder/grid.log``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GRIDD_", "CQ_"))}
    line = [sys.executable, "-m", "gridd", "up", "--port", "0", "--runtime", runtime]
    with (folder / "grid.log").open("wb") as log:
        process = subprocess.Popen(
            [*line, "--data-dir", str(folder / "data")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=kept,
        )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().decode()  # ends when it ends
        assert "http://" in ready, (folder / "grid.log").read_text()
        yield ready.split()[-1]
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
