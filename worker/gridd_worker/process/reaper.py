"""Runs one command and lets none of its processes outlive it. Used where there is no sandbox.

Started as a script, so it imports the standard library only. It becomes the parent of orphans
(``PR_SET_CHILD_SUBREAPER``, Linux), so that a process that left the session is still found; it
kills all of them when the command ends, when it gets SIGTERM, and when the worker dies.

    reaper.py STATUS_FD LIMITS_JSON PROGRAM [ARGUMENT...]

Writes one JSON line to STATUS_FD: ``{"exit-code": n}``, or ``{"failed": "why"}`` when the program
could not be started. LIMITS_JSON maps names such as ``RLIMIT_CORE`` to numbers.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 400  # every 5 ms: two seconds to kill what forks as fast as it is killed


def main() -> int:
    status = int(sys.argv[1])
    limits = json.loads(sys.argv[2])
    os.set_inheritable(status, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: _kill_all(None))
    try:
        _limit(limits)  # ours, and so the child's
        child = subprocess.Popen(sys.argv[3:], start_new_session=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        os.write(status, json.dumps({"failed": str(error)}).encode() + b"\n")
        return 127
    code = _wait_for(child.pid)
    _kill_all(child.pid)
    os.write(status, json.dumps({"exit-code": code}).encode() + b"\n")
    return code


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))


def _wait_for(wanted: int) -> int:
    """The exit code of ``wanted``, 128 and more for signals; reaps orphans on the way."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == wanted:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_all(group: int | None) -> None:
    """Kills every descendant. With ``group`` the main child was waited for, so all are reaped."""
    for _ in range(_ROUNDS):
        left = _descendants()
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if group is None or not left:
            return
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)


def _descendants() -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if name.isdigit():
                parents.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
