"""The worker's own lines in a result (WIRE 6.10). They are no part of the live log.

People and upstream's page know these lines by their signs; each is one entry without a newline.
"""

from gridd_worker.runtime import Outcome

KILLED = 137  # 128 + SIGKILL


def ended(
    exit_code: int,
    duration_ms: int,
    *,
    name: str,
    timed_out: bool = False,
    out_of_memory: bool = False,
) -> Outcome:
    """The outcome of a program that ran. ``name`` says what ran it: a container id, a sandbox."""
    remarks: list[str] = []
    if exit_code == KILLED:
        cause = "out of memory" if out_of_memory else "out of memory or killed by system"
        remarks.append(f"💥 Container killed with status code 137 ({cause})")
        remarks.append(f"🔍 Container ID: {name}")
        remarks.append(f"⏱️ Job duration: {round(duration_ms / 1000)}s")
    elif exit_code != 0:
        remarks.append(f"⚠️ Container exited with status code: {exit_code}")
    if timed_out:
        remarks.append("💥 Timed out")
    if exit_code != 0:
        remarks.append(f"💥 StatusCode: {exit_code}")
    return Outcome(
        exit_code=exit_code,
        duration_ms=duration_ms,
        timed_out=timed_out,
        out_of_memory=out_of_memory,
        remarks=remarks,
    )


def no_image(message: str, *, building: bool = False) -> Outcome:
    """The image could not be pulled or built."""
    if building:
        error = f"Failure to build the docker image: {message}"
        remarks = [error, "💥 StatusCode: undefined", "💥 Error building image"]
    else:
        error = f"Failure to pull or build the docker image: {message}"
        remarks = [error, "💥 StatusCode: undefined", "💥 Error"]
    return Outcome(error=error, remarks=remarks)


def not_run(message: str) -> Outcome:
    """The program never started."""
    return Outcome(error=message, remarks=["💥 Job Error", message])


def excessive(message: str, exit_code: int, duration_ms: int) -> Outcome:
    """The program took more of this machine than it may, and was ended for it."""
    remarks = [f"💥 {message}", f"💥 StatusCode: {exit_code}"]
    return Outcome(exit_code=exit_code, duration_ms=duration_ms, error=message, remarks=remarks)


def lost(message: str, duration_ms: int) -> Outcome:
    """The program started and what became of it is not known."""
    return Outcome(error=message, duration_ms=duration_ms, remarks=["💥 Job Error", message])
