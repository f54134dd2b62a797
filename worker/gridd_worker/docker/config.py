"""From a task to the engine's ``create`` request: what a container gets and what it is denied.

Pure, so that every limit can be read in one place. The rule is DESIGN 5.11: jobs are strangers'
code; what they do not need is not there.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from gridd_protocol.names import NO_NETWORK_TAG
from gridd_worker.commandline import split_command, variables
from gridd_worker.config import JobNetwork
from gridd_worker.runtime import Task

NETWORKS: Final[dict[JobNetwork, str]] = {
    "lan": "gridd-jobs",
    "public": "gridd-public",
    "none": "none",  # the engine's own
}
"""Each but the last is a bridge of its own; see ``network`` for what it leads to."""
LABEL_JOB: Final = "gridd.job"
LABEL_ATTEMPT: Final = "gridd.attempt"
LABEL_QUEUE: Final = "gridd.queue"
LABEL_WORKER: Final = "gridd.worker"
LABEL_GRID: Final = "gridd.grid"  # which server, so that equal ids on two grids do not meet

# The engine's file is the buffer between the program and us. `local` keeps bytes as they are
# (json-file breaks a character at each 16 KiB cut). Twice this may be on disk for each job; only
# a program that is this far ahead of us, with all of the server's log bound long passed, loses.
_LOG_FILE_SIZE: Final = "64m"
_LOG_FILES: Final = "2"
_DEVICES: Final = "NVIDIA_VISIBLE_DEVICES"  # "void": none, and no driver either
_OOM_SCORE: Final = 500  # half of all memory counts on top of what a job's process has
_NOFILE_MAX: Final = 16_384  # root of a small machine has a hard limit of 20,000


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What the worker's owner says of all containers. ``runtime``: one of the engine's; ``user``:
    ``UID`` or ``UID:GID``; None leaves it to the engine, the image. ``log_drivers`` are the
    engine's own. ``memory_max``: in bytes, for a job that asks for none; 0 is no limit."""

    network: JobNetwork = "lan"
    runtime: str | None = None
    user: str | None = None
    log_drivers: tuple[str, ...] = ("local",)
    memory_max: int = 0


def cache_volume(queue: str, grid: str = "") -> str:
    """The volume at ``/job-cache``: each queue of each grid has its own, so queues can't read one
    another, those of one name on two grids included."""
    return f"gridd-cache-{hashlib.sha256(f'{grid} {queue}'.encode()).hexdigest()[:32]}"


def container_config(
    task: Task,
    image: str,
    host_cpus: float,
    options: ContainerOptions | None = None,
    *,
    grid: str = "",
) -> dict[str, Any]:
    """The body of ``POST /containers/create``. ``grid`` tells servers apart.

    Raises ``CommandError`` for a broken command."""
    definition = task.definition
    options = options or ContainerOptions()
    env = variables(task)
    config: dict[str, Any] = {
        "Image": image,
        "Env": _environment(task),
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Labels": {
            LABEL_JOB: task.job,
            LABEL_ATTEMPT: str(task.attempt),
            LABEL_QUEUE: task.queue,
            LABEL_WORKER: task.worker,
            LABEL_GRID: grid,
        },
        "HostConfig": _host_config(task, host_cpus, options, grid),
    }
    if (command := split_command(definition.command, env)) is not None:
        config["Cmd"] = command
    if (entrypoint := split_command(definition.entrypoint, env)) is not None:
        config["Entrypoint"] = entrypoint
    if options.user is not None:
        config["User"] = options.user
    if definition.workdir:
        config["WorkingDir"] = definition.workdir
    return config


def log_config(drivers: Collection[str]) -> dict[str, Any]:
    """How the engine keeps what a program prints, given the ``drivers`` that it has: Podman has no
    ``local``, and takes ``json-file`` for its own kind of file."""
    if "local" in drivers:
        options = {"max-size": _LOG_FILE_SIZE, "max-file": _LOG_FILES, "compress": "false"}
        return {"Type": "local", "Config": options}
    return {"Type": "json-file", "Config": {"max-size": _LOG_FILE_SIZE}}


def _environment(task: Task) -> list[str]:
    """Where the engine's own runtime is NVIDIA's, this variable alone, of the job or of its image,
    would open all devices to a job that was given none, or other ones."""
    given = [f"{name}={value}" for name, value in task.environment.items() if name != _DEVICES]
    return given if task.allowance.gpus else [*given, f"{_DEVICES}=void"]


def _host_config(
    task: Task, host_cpus: float, options: ContainerOptions, grid: str
) -> dict[str, Any]:
    allowance = task.allowance
    without_network = NO_NETWORK_TAG in (task.definition.tags or ())
    host: dict[str, Any] = {
        # More cpus than the host has is refused by the engine.
        "NanoCpus": int(min(allowance.cpus, host_cpus) * 1e9),
        "PidsLimit": allowance.pids_max,
        # All jobs together may want more memory than there is: one of them goes then, not the
        # engine, the worker or what else is this machine's.
        "OomScoreAdj": _OOM_SCORE,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,  # reaps orphans, and a kill reaches all of them
        "NetworkMode": NETWORKS["none" if without_network else options.network],
        "LogConfig": log_config(options.log_drivers),
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": _NOFILE_MAX, "Hard": _NOFILE_MAX},
        ],
        "Mounts": _mounts(task, grid),
    }
    if options.runtime is not None:
        host["Runtime"] = options.runtime
    if memory := allowance.memory_bytes or options.memory_max:
        host["Memory"] = host["MemorySwap"] = memory
    if allowance.shm_bytes:
        host["ShmSize"] = allowance.shm_bytes
    if allowance.gpus:
        host["DeviceRequests"] = [
            {"Driver": "nvidia", "DeviceIDs": list(allowance.gpus), "Capabilities": [["gpu"]]}
        ]
    return host


def _mounts(task: Task, grid: str) -> list[dict[str, Any]]:
    """By ``Mounts``, not ``Binds``: a source that is missing is an error then, not a new folder."""
    mounts: list[dict[str, Any]] = [
        _bind(str(task.inputs), "/inputs", read_only=True),
        _bind(str(task.outputs), "/outputs", read_only=False),
        {"Type": "volume", "Source": cache_volume(task.queue, grid), "Target": "/job-cache"},
    ]
    mounts += [
        _bind(str(path), inside, read_only=True) for inside, path in task.config_files.items()
    ]
    return mounts


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
