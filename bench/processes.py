"""The processes of a bench: started on free ports of this machine, ended by id, their CPU read."""

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_START_S = 30.0
_STOP_S = 10.0


@dataclass
class Process:
    pid: int
    url: str


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far, from /proc (resolution 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_grid(folder: Path) -> contextlib.AbstractContextManager[Process]:
    command = ["-m", "gridd.cli", "serve", "--port", "0", "--data-dir", str(folder / "grid")]
    return _running(command, folder / "grid.log", r"(http://[\d.]+:\d+)")


def start_worker(
    folder: Path, url: str, runtime: str = "null", *options: str
) -> contextlib.AbstractContextManager[Process]:
    command = ["-m", "gridd_worker.cli", "run", "--runtime", runtime, "--api-address", url]
    command += ["--data-directory", str(folder / "worker"), *options, "bench"]
    return _running(command, folder / "worker.log", r"serves bench")


def start_echo(folder: Path) -> contextlib.AbstractContextManager[Process]:
    return _running([str(HERE / "echo.py"), "server"], folder / "echo.log", r"(http://\S+)")


def start_echo_worker(url: str) -> contextlib.AbstractContextManager[Process]:
    log = Path(os.devnull)
    return _running([str(HERE / "echo.py"), "worker", url], log, r"connected")


@contextlib.contextmanager
def _running(arguments: list[str], log: Path, ready: str) -> Iterator[Process]:
    """The process, once its output matched ``ready`` (whose group, if any, is its URL)."""
    with log.open("ab") as errors:
        child = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors
        )
    try:
        match = _await_line(child, ready, log)
        yield Process(child.pid, match.group(1) if match.groups() else "")
    finally:
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _await_line(
    child: "subprocess.Popen[bytes]", ready: str, log: Path, patience_s: float = _START_S
) -> re.Match[str]:
    """Raises ``RuntimeError`` when no whole line matched in time, also if the child is silent."""
    deadline = time.monotonic() + patience_s
    assert child.stdout is not None
    pipe = child.stdout.fileno()
    seen = ""
    while (left_s := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left_s)[0]:
        said = os.read(pipe, 1 << 16)
        if not said:
            break
        seen += said.decode(errors="replace")
        if match := re.search(ready, seen[: seen.rfind("\n") + 1]):
            return match
    errors = log.read_text()[-2_000:] if log.is_file() else ""
    raise RuntimeError(f"{child.args} was not ready: {seen}{errors}")
