"""The daemon's settings: where each comes from, what it may be, and what it means.

Owns every setting of ``gridd serve`` and ``gridd up``; refuses, all at once, whatever does not
fit. A value is looked for in this order: option, environment (``GRIDD_PORT``), configuration
file (TOML, keys named after the fields), default. Nothing here touches the network or creates a
file.
"""

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gridd.blobs.bucket import (
    LINK_MS,
    LINK_MS_MAX,
    Bucket,
    S3Options,
    read_bucket,
    read_endpoint,
    read_region,
)
from gridd.errors import ConfigError
from gridd_protocol import limits
from gridd_protocol.errors import shown
from gridd_protocol.units import parse_duration_setting

_DURATION_MS_MAX = 100 * 365 * 24 * 3_600_000  # a century: beyond it a digit too many was typed
_LEASE_MS_MIN = 2_000  # the worker's clock, the network and a busy machine take their part
_HEARTBEATS_PER_LEASE = 6  # as LEASE_MS has of HEARTBEAT_MS: several may be lost
_IN_DATA_DIR = Path("<data-dir>")  # stands for the folder of that name in the data directory
_LOG_LEVELS = ("debug", "info", "warning", "error")


def duration_ms(text: str) -> int:
    """Milliseconds of ``28d``, ``1h30m``, ``1.5s``. Raises ``ValueError`` with a sentence."""
    value = parse_duration_setting(text)
    if value > _DURATION_MS_MAX:
        raise ValueError(f"{shown(text)} is longer than a century")
    return value


def _retention(text: str) -> int:
    value = duration_ms(text)
    if value < 60_000:
        raise ValueError(f"{shown(text)} is too short; finished jobs are kept at least 1m")
    return value


def _lease(text: str) -> int:
    value = duration_ms(text)
    if value < _LEASE_MS_MIN:
        raise ValueError(f"{shown(text)} is too short; the least is {_LEASE_MS_MIN} ms")
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65_535:
        raise ValueError(f"{shown(text)} is not a port; write a number from 0 to 65535")
    return int(text)


def _host(text: str) -> str:
    if not text or any(c.isspace() or c in "/?#@" for c in text):
        raise ValueError(f"{shown(text)} is not a host name or address")
    return text.removeprefix("[").removesuffix("]")


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError(f"{shown(text)} is not a path")
    return Path(text).expanduser()


def _store(kind: str, scheme: str, instead: str) -> Callable[[str], Path]:
    """A folder; the address of a store that is not built yet is refused with a sentence."""

    def read(text: str) -> Path:
        if text.lower().startswith(f"{scheme}:"):
            raise ValueError(f"{shown(text)}: {kind} can't be kept on {instead} yet; name a folder")
        if "://" in text:
            raise ValueError(f"{shown(text)} is not a folder; {kind} are kept in one")
        return _path(text)

    return read


def _blobs(text: str) -> Path | Bucket:
    if text.lower().startswith("s3:"):
        return read_bucket(text)
    if "://" in text:
        raise ValueError(f"{shown(text)} is neither a folder nor s3://BUCKET")
    return _path(text)


def _link_life(text: str) -> int:
    value = duration_ms(text)
    if not 1_000 <= value <= LINK_MS_MAX:
        raise ValueError(f"{shown(text)} does not fit; a link lives from 1s to 7d")
    return value


def _origin(text: str) -> str:
    """An origin as browsers send it: scheme, host, port; nothing after."""
    parts = urlsplit(text)
    try:
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    host_only = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    fits = parts.scheme in ("http", "https") and parts.hostname and host_only
    if not fits or not port_fits:
        raise ValueError(f"{shown(text)} is not an origin; write it as https://example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _origins(text: str) -> tuple[str, ...]:
    return tuple(_origin(part.strip()) for part in text.split(",") if part.strip())


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{shown(text)} is not a URL; write it as https://grid.example.org")
    return text.rstrip("/")


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{shown(text)} is not one of {', '.join(names)}")
        return text.lower()

    return read


def _about(
    read: Callable[[str], Any],
    help: str,
    *,
    option: str = "",
    value: str = "",
    hidden: bool = False,
    repeat: bool = False,
) -> dict[str, Any]:
    """What a setting says of itself. ``option``: its name, where that is not the field's;
    ``value``: what stands for the value in ``--help``; ``hidden``: not shown there."""
    return {
        "read": read,
        "help": help,
        "option": option,
        "value": value,
        "hidden": hidden,
        "repeat": repeat,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one daemon. Build it with ``load``; plain construction is for tests."""

    host: str = field(
        default="127.0.0.1",
        metadata=_about(
            _host, "address to listen on; the default is this machine only", value="HOST"
        ),
    )
    port: int = field(
        default=8000,
        metadata=_about(_port, "port to listen on; 0 takes a free one", value="PORT"),
    )
    data_dir: Path = field(
        default=Path("gridd-data"),
        metadata=_about(_path, "folder for everything the daemon keeps", value="DIR"),
    )
    public_url: str | None = field(
        default=None,
        metadata=_about(
            _public_url, "URL under which others reach this grid, for links", value="URL"
        ),
    )
    blobs: Path | Bucket = field(
        default=_IN_DATA_DIR,
        metadata=_about(
            _blobs,
            "folder for uploaded and produced files (default: <data-dir>/blobs), "
            "or s3://BUCKET[/PREFIX]",
            value="DIR",
        ),
    )
    s3_endpoint: str | None = field(
        default=None,
        metadata=_about(
            read_endpoint, "URL of the S3 service, where that is not Amazon's", value="URL"
        ),
    )
    s3_public_endpoint: str | None = field(
        default=None,
        metadata=_about(
            read_endpoint, "URL of the S3 service for those who download files", value="URL"
        ),
    )
    s3_region: str | None = field(
        default=None,
        metadata=_about(read_region, "region of the bucket", value="REGION"),
    )
    s3_addressing: str = field(
        default="auto",
        metadata=_about(
            _one_of("auto", "path", "virtual"),
            "where the bucket stands in addresses: path, virtual (in the host name), or auto: "
            "path where there is an --s3-endpoint",
            value="STYLE",
        ),
    )
    s3_link_ms: int = field(
        default=LINK_MS,
        metadata=_about(
            _link_life,
            "how long after it was asked for a file on S3 may be read, at most 7d (default: 1h)",
            option="s3-link",
            value="TIME",
        ),
    )
    journal: Path = field(
        default=_IN_DATA_DIR,
        metadata=_about(
            _store("journals", "nats", "NATS"),
            "folder for the journal (default: <data-dir>/journal)",
            value="DIR",
        ),
    )
    retention_ms: int = field(
        default=limits.RETENTION_MS,
        metadata=_about(
            _retention,
            "how long a finished job is kept, such as 12h (default: 28d)",
            option="retention",
            value="TIME",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about(
            _one_of(*_LOG_LEVELS), f"least level to log: {', '.join(_LOG_LEVELS)}", value="LEVEL"
        ),
    )
    log_format: str = field(
        default="text",
        metadata=_about(
            _one_of("text", "json"), "log for people (text) or machines (json)", value="FORMAT"
        ),
    )
    allow_origin: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            _origins,
            "origin whose pages may use a grid that is closed to other sites; "
            "may be repeated, or be a list with commas",
            value="ORIGIN",
            repeat=True,
        ),
    )
    lease_ms: int = field(
        default=limits.LEASE_MS,
        metadata=_about(
            _lease,
            "silence after which a worker loses its jobs (default: 30s)",
            option="lease",
            value="TIME",
            hidden=True,
        ),
    )
    open_to_all: bool = True
    """Answer every Origin and Host. ``serve`` is open; ``up`` is not, and then only loopback
    names and ``allow_origin`` are answered. Set by the command, not by a setting."""

    @property
    def heartbeat_ms(self) -> int:
        """How often workers are asked to speak: a short lease asks more often."""
        return min(limits.HEARTBEAT_MS, self.lease_ms // _HEARTBEATS_PER_LEASE)

    @property
    def s3(self) -> S3Options:
        return S3Options(
            endpoint=self.s3_endpoint,
            public_endpoint=self.s3_public_endpoint,
            region=self.s3_region,
            addressing=self.s3_addressing,
            link_ms=self.s3_link_ms,
        )

    def __post_init__(self) -> None:
        for name in ("blobs", "journal"):
            if getattr(self, name) == _IN_DATA_DIR:
                object.__setattr__(self, name, self.data_dir / name)

    @classmethod
    def load(
        cls, args: Mapping[str, Any], environ: Mapping[str, str], *, open_to_all: bool = True
    ) -> "Config":
        """Settings from ``args`` (by field name; ``None`` means not given), environment and file.

        Texts, and lists of texts for repeated options, are what ``args`` holds; ``config`` in it
        names the file. Raises ``ConfigError`` with every complaint.
        """
        complaints: list[str] = []
        file = _read_file(args, environ, complaints)
        values: dict[str, Any] = {}
        for setting in settings():
            for source, text in _given(setting, args, environ, file):
                try:
                    values[setting.name] = setting.metadata["read"](text)
                except ValueError as error:
                    complaints.append(f"{source}: {error}")
        if not open_to_all and "host" in values and not is_loopback(values["host"]):
            complaints.append(
                f"--host {values['host']}: `gridd up` listens on this machine only; "
                "`gridd serve` listens where you say"
            )
        if complaints:
            raise ConfigError(complaints)
        return cls(**values, open_to_all=open_to_all)


def is_loopback(host: str) -> bool:
    """True for the names and addresses that only this machine reaches."""
    name = host.lower().removeprefix("[").removesuffix("]")
    return name in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None


def settings() -> Iterator["dataclasses.Field[Any]"]:
    """The fields that can be set, in order, each with its metadata (``read``, ``help``, …)."""
    return (field for field in dataclasses.fields(Config) if field.metadata)


def option_name(setting: "dataclasses.Field[Any]") -> str:
    """``data-dir`` for ``data_dir``; ``retention`` for ``retention_ms``."""
    return str(setting.metadata["option"] or setting.name).replace("_", "-")


def environment_name(setting: "dataclasses.Field[Any]") -> str:
    return "GRIDD_" + option_name(setting).replace("-", "_").upper()


def _read_file(
    args: Mapping[str, Any], environ: Mapping[str, str], complaints: list[str]
) -> dict[str, Any]:
    name = args.get("config") or environ.get("GRIDD_CONFIG")
    if not name:
        return {}
    try:
        with Path(name).expanduser().open("rb") as stream:
            file = tomllib.load(stream)
    except OSError as error:
        complaints.append(f"configuration file {name}: can't be read ({error.strerror})")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        complaints.append(f"configuration file {name}: not TOML ({error})")
        return {}
    known = {_file_key(setting) for setting in settings()}
    complaints += [
        f"configuration file {name}: {shown(key)} is not a setting; "
        f"known are {', '.join(sorted(known))}"
        for key in file
        if key.replace("-", "_") not in known
    ]
    return {key.replace("-", "_"): (f"configuration file {name}: {key}", file[key]) for key in file}


def _file_key(setting: "dataclasses.Field[Any]") -> str:
    return option_name(setting).replace("-", "_")


def _given(
    setting: "dataclasses.Field[Any]",
    args: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Mapping[str, tuple[str, Any]],
) -> Iterator[tuple[str, str]]:
    """Where the setting's value comes from, and the value as text: one pair, or none."""
    option, variable, key = option_name(setting), environment_name(setting), _file_key(setting)
    if (value := args.get(setting.name)) is not None:
        yield f"--{option}", _text(value)
    elif environ.get(variable):
        yield variable, environ[variable]
    elif key in file:
        source, value = file[key]
        yield source, _text(value)


def _text(value: Any) -> str:
    """A setting as it would stand on a command line, whatever type TOML gave it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
