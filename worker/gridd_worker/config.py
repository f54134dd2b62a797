"""The worker's settings: where each comes from, what it may be, and what it means.

A value is looked for in this order: option, environment (``GRIDD_WORKER_CPUS``), configuration
file (TOML, keys named after the options), default. Everything that does not fit is refused, all
at once. Nothing here creates a file or talks to anyone.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from gridd_protocol.errors import ProtocolError, shown
from gridd_protocol.limits import CREDIT_MAX
from gridd_protocol.messages import Resources
from gridd_protocol.names import check_queue_name, check_worker_id
from gridd_protocol.units import parse_bytes, parse_duration_setting

RuntimeName = Literal["docker", "process", "null"]

NULL_CPUS = 256.0  # the null runtime uses nothing, so it need not be held back by the machine
QUEUES_MAX = 64
TAGS_MAX = 64
_DEVICE = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_CPUS_MAX = 1 << 20
_GPUS_MAX = 1_024


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
    proxy: str | None = None  # an address, or "system"
    debug: bool = False

    @property
    def credit(self) -> int:
        return self.jobs or min(max(int(self.cpus), 1), CREDIT_MAX)

    def resources(self, runs: tuple[Any, ...]) -> Resources:
        """What we tell the server that we have. ``runs``: the kinds that the runtime can."""
        return Resources(
            cpus=self.cpus,
            gpus=len(self.gpus),
            memory=self.memory,
            max_duration=self.max_job_duration_ms,
            tags=self.tags,
            runs=runs,
        )


# --- readers: text to value, or ValueError with a sentence ---------------------------------


def _cpus(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= _CPUS_MAX:
        raise ValueError(f"{shown(text)} is not a number of cpus from 1 to {_CPUS_MAX}")
    return value


def _gpus(text: str) -> tuple[str, ...]:
    """``2`` is the first two devices; ``device=1,3`` names them; ``all`` is what /dev shows."""
    plain = text.strip().strip("\"'")
    if plain.isascii() and plain.isdigit() and int(plain) <= _GPUS_MAX:
        return tuple(str(index) for index in range(int(plain)))
    if plain == "all":
        return _gpus_of_machine()
    devices = plain.removeprefix("device=").split(",")
    if not plain.startswith("device=") or not all(map(_DEVICE.fullmatch, devices)):
        raise ValueError(f"{shown(text)} is not of the form 2, device=1,3 or all")
    if len(set(devices)) != len(devices):
        raise ValueError(f"{shown(text)} names a device twice")
    return tuple(devices)


def _gpus_of_machine(directory: Path = Path("/dev")) -> tuple[str, ...]:
    found = (re.fullmatch(r"nvidia([0-9]+)", path.name) for path in directory.glob("nvidia*"))
    indexes = sorted(int(match[1]) for match in found if match)
    if not indexes:
        raise ValueError(
            "all: there is no NVIDIA device under /dev; name them yourself, as in device=0,1"
        )
    return tuple(map(str, indexes))


def _duration(text: str) -> int:
    value = parse_duration_setting(text)
    if value < 1:
        raise ValueError(f"{shown(text)} is not longer than 0")
    return value


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= CREDIT_MAX:
        raise ValueError(f"{shown(text)} is not a number of jobs from 1 to {CREDIT_MAX}")
    return int(text)


def _directory(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError(f"{shown(text)} is not a path")
    return Path(text).expanduser().absolute()


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.port is None or parts.port > 0
    except ValueError:
        fits = False
    if not fits or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{shown(text)} is not an http:// or https:// address")
    if parts.query or parts.fragment:
        raise ValueError(f"{shown(text)} must have no query and no fragment")
    return text.rstrip("/")


def _proxy(text: str) -> str:
    if text == "system" or urlsplit(text).scheme in ("http", "https", "socks5", "socks5h"):
        return text
    raise ValueError(f"{shown(text)} is neither an address of a proxy nor the word system")


def _tags(text: str) -> tuple[str, ...]:
    tags = sorted({tag.strip() for tag in text.split(",")} - {""})
    if len(tags) > TAGS_MAX or any(len(tag) > 100 for tag in tags):
        raise ValueError(f"{shown(text)}: at most {TAGS_MAX} tags of 100 characters")
    return tuple(tags)


def _queues(text: str) -> tuple[str, ...]:
    return _queue_names([name.strip() for name in text.split(",") if name.strip()])


def _queue_names(given: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(given))
    if len(names) > QUEUES_MAX:
        raise ValueError(f"{len(names)} queues; one worker serves at most {QUEUES_MAX}")
    return tuple(check_queue_name(name) for name in names)


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{shown(text)} is not one of {', '.join(names)}")
        return text.lower()

    return read


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "1", "yes", "on", "false", "0", "no", "off", ""):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text.lower() in ("true", "1", "yes", "on")


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
        *("cpus", "cpus", _cpus, "N"),
        "cpus to give to jobs; a job that asks for nothing takes 1 (default: all of this "
        "machine; 256 with the runtime null)",
        "c",
    ),
    Setting(
        *("gpus", "gpus", _gpus, "SPEC"),
        "gpus to give to jobs: a number, device=1,3 or all (default: 0)",
        "g",
    ),
    Setting(
        *("memory", "memory", parse_bytes, "SIZE"),
        "memory to give to jobs, such as 8g; 0 does not count it (default: all of this machine)",
    ),
    Setting(
        *("max_job_duration_ms", "max-job-duration", _duration, "TIME"),
        "longest run of a job, such as 20m (default: 5m)",
        "t",
    ),
    Setting(
        *("jobs", "jobs", _jobs, "N"),
        "jobs at once, whatever they ask for (default: one for each cpu)",
    ),
    Setting(
        *("data_directory", "data-directory", _directory, "DIR"),
        "where inputs, outputs, caches and unsent results are kept (default: gridd-worker in the "
        "user's cache directory)",
        "d",
    ),
    Setting(
        *("api_address", "api-address", _address, "URL"),
        "the grid's server (default: http://127.0.0.1:8000)",
        "a",
    ),
    Setting(
        *("mode", "mode", _one_of("remote", "local"), "remote|local"),
        "local: the queue is 'local' unless one is named (default: remote)",
        "m",
    ),
    Setting(
        *("id", "id", check_worker_id, "ID"),
        "this worker's name on the grid (default: drawn once, kept in the data directory)",
    ),
    Setting(
        *("runtime", "runtime", _one_of("docker", "process", "null"), "docker|process|null"),
        "what runs jobs. process runs strangers' commands on this machine itself: naming it is "
        "your permission (default: docker)",
    ),
    Setting(
        *("tags", "tags", _tags, "A,B"),
        "what jobs may ask for by name, such as a site or a licence (default: none)",
    ),
    Setting(
        *("drain_ms", "drain", _duration, "TIME"),
        "after SIGTERM or Ctrl-C, how long running jobs may go on (default: 30s)",
    ),
    Setting(
        *("proxy", "proxy", _proxy, "URL"),
        "reach the server through this proxy; system: as the proxy variables say (default: none)",
    ),
    Setting(
        *("debug", "debug", _switch, ""),
        "log all traffic with the server",
    ),
)

QUEUES = Setting("queues", "queues", _queues, "QUEUE", "queues to serve")
"""On the command line by position; in environment and file separated by commas."""


def load(
    queues: Sequence[str],
    options: Mapping[str, str | None],
    environment: Mapping[str, str],
    file: Path | None = None,
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
        _read("queues", _queue_names, queues, "QUEUE", values, complaints)
    elif named:
        _read("queues", _queues, *named[0], values, complaints)
    elif values.get("mode") == "local":
        values["queues"] = ("local",)
    else:
        complaints.append("QUEUE: name at least one queue to serve")
    if complaints:
        raise ConfigError(complaints)
    return Config(**(_defaults(values.get("runtime", "docker"), environment) | values))


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


def _defaults(runtime: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What depends on the machine and on the runtime."""
    cache = environment.get("XDG_CACHE_HOME") or ""
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    null = runtime == "null"
    return {
        "data_directory": base / "gridd-worker",
        "cpus": NULL_CPUS if null else float(machine_cpus()),
        "memory": 0 if null else machine_memory(),
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
