"""The worker's settings: where each comes from, what it may be, and what it means.

A value is looked for in this order: option, environment (``GRIDD_WORKER_CPUS``), configuration
file (TOML, keys named after the options), default. Everything that does not fit is refused, all
at once. What a text may be is ``config_values``. Nothing here creates a file or talks to anyone.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gridd_protocol.errors import ProtocolError, shown
from gridd_protocol.limits import CREDIT_MAX
from gridd_protocol.messages import Resources
from gridd_protocol.names import check_worker_id
from gridd_protocol.units import parse_bytes
from gridd_worker import config_values as read

RuntimeName = Literal["docker", "process", "null"]
LogFormat = Literal["text", "json"]
PrivateAddresses = Literal["refuse", "allow"]
JobNetwork = Literal["lan", "public", "none"]
BuilderName = Literal["classic", "buildkit", "auto"]

NULL_CPUS = 256.0  # the null runtime uses nothing, so it need not be held back by the machine
MIN_FREE_DISK_BYTES = 256 << 20  # chosen: logs, notes and small outputs of what runs still fit
JOB_DISK_BYTES = 20 << 30  # chosen: a large data set fits, and a usual disk does not fill at once


class ConfigError(Exception):
    """Settings that do not fit. ``complaints`` holds every one, not only the first."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True, slots=True)
class Config:
    """One worker process. Fields are the options of ``gridd-worker run``; see ``SETTINGS``."""

    queues: tuple[str, ...]
    data_directory: Path
    weights: tuple[int, ...] = ()  # one for each queue; none: all are 1
    api_address: str = "http://127.0.0.1:8000"
    cpus: float = 1.0
    gpus: tuple[str, ...] = ()  # device ids
    memory: int = 0  # bytes; 0: not counted
    max_job_duration_ms: int = 300_000
    jobs: int = 0  # how many at once; 0: one for each whole cpu
    mode: Literal["remote", "local"] = "remote"
    id: str | None = None  # None: kept in the data directory, drawn on the first start
    runtime: RuntimeName = "docker"
    tags: tuple[str, ...] = ()
    drain_ms: int = 30_000
    min_free_disk: int = MIN_FREE_DISK_BYTES  # 0: not watched
    proxy: str | None = None  # an address, or "system"
    log_format: LogFormat = "text"
    plain: bool = False
    debug: bool = False
    image_cache: int = 50 << 30  # bytes; 0: no limit
    image_max_age_ms: int = 30 * 86_400_000
    input_timeout_ms: int = 60 * 60_000
    pull_timeout_ms: int = 30 * 60_000
    build_timeout_ms: int = 60 * 60_000
    no_builds: bool = False
    builder: BuilderName = "classic"
    registry_auth: Path | None = None
    git_credentials: Path | None = None
    private_addresses: PrivateAddresses = "refuse"  # of inputs and of builds' sources
    job_network: JobNetwork = "lan"
    job_disk: int = JOB_DISK_BYTES  # 0: no limit
    docker_runtime: str | None = None  # None: the engine's default
    user: str | None = None  # numbers, UID or UID:GID; None: the image's

    @property
    def weights_of_queues(self) -> tuple[int, ...]:
        return self.weights or (1,) * len(self.queues)

    @property
    def credit(self) -> int:
        return self.jobs or min(max(int(self.cpus), 1), CREDIT_MAX)

    def resources(self, runs: tuple[Any, ...], offers: tuple[str, ...] = ()) -> Resources:
        """What we tell the server that we have. ``runs``: the kinds that the runtime can;
        ``offers``: tags of the runtime's own."""
        return Resources(
            cpus=self.cpus,
            gpus=len(self.gpus),
            memory=self.memory,
            max_duration=self.max_job_duration_ms,
            tags=tuple(sorted({*self.tags, *offers})),
            runs=runs,
        )


# --- the settings --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """``field`` of ``Config``, its ``option`` without dashes, and what ``--help`` says."""

    field: str
    option: str
    read: Callable[[Any], Any]
    value: str
    help: str
    short: str = ""

    @property
    def environment(self) -> str:
        return f"GRIDD_WORKER_{self.option.upper().replace('-', '_')}"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        *("cpus", "cpus", read.cpus, "N"),
        "cpus to give to jobs; a job that asks for nothing takes 1 (default: all of this "
        "machine; 256 with the runtime null)",
        "c",
    ),
    Setting(
        *("gpus", "gpus", read.gpus, "SPEC"),
        "gpus to give to jobs: a number, device=1,3 or all (default: 0)",
        "g",
    ),
    Setting(
        *("memory", "memory", parse_bytes, "SIZE"),
        "memory to give to jobs, such as 8g; 0 does not count it (default: all of this machine)",
    ),
    Setting(
        *("max_job_duration_ms", "max-job-duration", read.duration, "TIME"),
        "longest run of a job, such as 20m (default: 5m)",
        "t",
    ),
    Setting(
        *("jobs", "jobs", read.jobs, "N"),
        "jobs at once, whatever they ask for (default: one for each cpu)",
    ),
    Setting(
        *("data_directory", "data-directory", read.directory, "DIR"),
        "where inputs, outputs, caches and unsent results are kept (default: gridd-worker in the "
        "user's cache directory)",
        "d",
    ),
    Setting(
        *("api_address", "api-address", read.address, "URL"),
        "the grid's server (default: http://127.0.0.1:8000)",
        "a",
    ),
    Setting(
        *("mode", "mode", read.one_of("remote", "local"), "remote|local"),
        "local: the worker of a grid on this machine, as `gridd up` starts one: the queue is "
        "'local' unless one is named, and the data directory one of its own (default: remote)",
        "m",
    ),
    Setting(
        *("id", "id", check_worker_id, "ID"),
        "this worker's name on the grid (default: drawn once, kept in the data directory)",
    ),
    Setting(
        *("runtime", "runtime", read.one_of("docker", "process", "null"), "docker|process|null"),
        "what runs jobs. process runs strangers' commands on this machine itself: naming it is "
        "your permission (default: docker)",
    ),
    Setting(
        *("tags", "tags", read.tags, "A,B"),
        "what jobs may ask for by name, such as a site or a licence (default: none)",
    ),
    Setting(
        *("drain_ms", "drain", read.duration, "TIME"),
        "after SIGTERM or Ctrl-C, how long running jobs may go on (default: 30s)",
    ),
    Setting(
        *("min_free_disk", "min-free-disk", parse_bytes, "SIZE"),
        "take no jobs while less is free where the data directory is; 0 does not look (default: "
        "256m)",
    ),
    Setting(
        *("job_disk", "job-disk", parse_bytes, "SIZE"),
        "stop a job that has written more to this machine's disk: in its container, outputs and "
        "cache together; 0: no limit (default: 20g)",
    ),
    Setting(
        *("log_format", "log-format", read.one_of("text", "json"), "text|json"),
        "json: one object for each line of the log (default: text)",
    ),
    Setting(
        *("plain", "plain", read.switch, ""),
        "plain log lines on a terminal too, instead of the view that is redrawn",
    ),
    Setting(
        *("proxy", "proxy", read.proxy, "URL"),
        "reach the server through this proxy; system: as the proxy variables say (default: none)",
    ),
    Setting(
        *("image_cache", "image-cache", parse_bytes, "SIZE"),
        "images that this worker pulled or built and that nothing uses are removed beyond this, "
        "least recently used first; 0: no limit (default: 50g)",
    ),
    Setting(
        *("image_max_age_ms", "image-max-age", read.duration, "TIME"),
        "likewise those that were not used for so long (default: 30d)",
    ),
    Setting(
        *("input_timeout_ms", "input-timeout", read.duration, "TIME"),
        "longest time in which all inputs of a job must be here (default: 1h)",
    ),
    Setting(
        *("pull_timeout_ms", "pull-timeout", read.duration, "TIME"),
        "longest pull of an image (default: 30m)",
    ),
    Setting(
        *("build_timeout_ms", "build-timeout", read.duration, "TIME"),
        "longest build of an image, with the fetching of its source (default: 1h)",
    ),
    Setting(
        *("no_builds", "no-builds", read.switch, ""),
        "refuse jobs whose image has to be built",
    ),
    Setting(
        *("builder", "builder", read.one_of("classic", "buildkit", "auto"), "NAME"),
        "which of the engine's builders makes images: classic, buildkit, or auto, which takes "
        "BuildKit for what only it can build. Its steps have no limit of memory and cpus and are "
        "on the engine's own network (default: classic; auto with --mode local)",
    ),
    Setting(
        *("registry_auth", "registry-auth", read.readable, "FILE"),
        "logins for private registries, in the form of Docker's config.json; every job of the "
        "queues can then use those images (default: none)",
    ),
    Setting(
        *("git_credentials", "git-credentials", read.readable, "FILE"),
        "logins for private git repositories, a line https://USER:TOKEN@HOST/PATH for each; every "
        "job of the queues can then build from them (default: none)",
    ),
    Setting(
        *("private_addresses", "private-addresses", read.one_of("refuse", "allow"), "refuse|allow"),
        "whether inputs and sources of builds may be fetched from loopback and private addresses. "
        "The grid's own files always may, link-local and metadata addresses never (default: "
        "refuse; allow with --mode local)",
    ),
    Setting(
        *("job_network", "job-network", read.one_of("lan", "public", "none"), "lan|public|none"),
        "what containers may reach: lan is everything but this machine's own services, other jobs "
        "and metadata addresses; public is likewise without private addresses; none has no "
        "network (default: lan)",
    ),
    Setting(
        *("docker_runtime", "docker-runtime", read.docker_runtime, "NAME"),
        "run containers with this runtime of the engine, such as runsc; no images are built then "
        "(default: the engine's)",
    ),
    Setting(
        *("user", "user", read.user, "UID[:GID]"),
        "run containers as this user, whatever their image says (default: the image's)",
    ),
    Setting(
        *("debug", "debug", read.switch, ""),
        "log all traffic with the server",
    ),
)

QUEUES = Setting(
    *("queues", "queues", read.queues, "QUEUE"),
    "queues to serve; QUEUE=3 gets three turns where another gets one",
)
"""On the command line by position; in environment and file separated by commas."""


def load(
    queues: Sequence[str],
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    file: Path | None = None,
    *,
    queue_needed: bool = True,
) -> Config:
    """``options`` by field name, ``None`` where not given. ``queues`` from the command line; in
    environment and file their names are separated by commas.

    Raises ``ConfigError`` with every complaint.
    """
    complaints: list[str] = []
    stored = _read_file(file, complaints) if file else {}
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        for text, source in _sources(setting, options, environment, stored, file):
            if text is not None:
                _read(setting.field, setting.read, text, source, values, complaints)
                break
    named = [given for given in _sources(QUEUES, {}, environment, stored, file) if given[0]]
    if queues:
        _read("queues", read.weighted, queues, "QUEUE", values, complaints)
    elif named:
        _read("queues", read.queues, *named[0], values, complaints)
    elif values.get("mode") == "local":
        values["queues"] = {"local": 1}
    elif queue_needed:
        complaints.append("QUEUE: name at least one queue to serve")
    complaints += _unfit(values)
    if complaints:
        raise ConfigError(complaints)
    weights: dict[str, int] = values.pop("queues", {})
    values["queues"] = tuple(weights)
    if set(weights.values()) - {1}:
        values["weights"] = tuple(weights.values())
    return Config(**(_defaults(values, environment) | values))


def _unfit(values: Mapping[str, Any]) -> list[str]:
    """What is asked of a runtime or a builder that can't do it is refused, not ignored."""
    if values.get("job_network") == "public" and values.get("builder", "classic") != "classic":
        return [f"--builder {values['builder']}: BuildKit's steps can reach private addresses,"
                " which --job-network public does not allow"]  # fmt: skip
    runtime = values.get("runtime", "docker")
    asked = [option for option in ("docker_runtime", "user") if values.get(option)]
    if runtime == "docker" or not asked:
        return []
    return [f"--{option.replace('_', '-')}: the runtime {runtime} has no such" for option in asked]


def _sources(
    setting: Setting,
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    stored: Mapping[str, str],
    file: Path | None,
) -> list[tuple[str | None, str]]:
    return [
        (options.get(setting.field) or None, f"--{setting.option}"),
        (environment.get(setting.environment) or None, setting.environment),
        (stored.get(setting.option), f"{setting.option} in {file}"),
    ]


def _read(
    field: str,
    read: Callable[[Any], Any],
    text: Any,
    source: str,
    values: dict[str, Any],
    complaints: list[str],
) -> None:
    try:
        values[field] = read(text)
    except ProtocolError as error:
        complaints.append(f"{source}: {error.message}")
    except ValueError as error:
        complaints.append(f"{source}: {error}")


def _read_file(file: Path, complaints: list[str]) -> dict[str, str]:
    """The file's values as text, as if typed: one reader serves all sources."""
    try:
        with file.open("rb") as stream:
            members = tomllib.load(stream)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        complaints.append(f"--config {file}: {error}")
        return {}
    known = {setting.option for setting in (*SETTINGS, QUEUES)}
    stored: dict[str, str] = {}
    for key, value in members.items():
        option = key.replace("_", "-")
        text = _as_text(value)
        if option not in known:
            complaints.append(f"{key} in {file}: there is no such setting")
        elif text is None:
            complaints.append(f"{key} in {file}: {shown(value)} is not a plain value")
        else:
            stored[option] = text
    return stored


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ",".join(map(str, value))
    return None


def _defaults(values: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """What depends on the machine, the runtime and the mode."""
    cache = environment.get("XDG_CACHE_HOME") or ""
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    null = values.get("runtime") == "null"
    local = values.get("mode") == "local"
    return {
        "data_directory": base / ("gridd-worker-local" if local else "gridd-worker"),
        "cpus": NULL_CPUS if null else float(machine_cpus()),
        "memory": 0 if null else machine_memory(),
        # Who submits to a local grid is on its machine, and reaches all that anyway.
        "private_addresses": "allow" if local else "refuse",
        "builder": "auto" if local and values.get("job_network") != "public" else "classic",
    }


def machine_cpus() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def machine_memory() -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
