"""The daemon's settings: where each comes from, what it may be, and what it means.

Owns every setting of ``gridd serve`` and ``gridd up``; refuses, all at once, whatever does not
fit. A value is looked for in this order: option, environment (``GRIDD_PORT``), configuration
file (TOML, keys named after the fields), default. Nothing here touches the network or creates a
file.
"""

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridd import config_values as read
from gridd.blobs.bucket import LINK_MS, Bucket, S3Options, read_endpoint, read_region
from gridd.errors import ConfigError
from gridd.webhooks.policy import POLICIES, Policy
from gridd_protocol import limits
from gridd_protocol.errors import shown

_HEARTBEATS_PER_LEASE = 6  # as LEASE_MS has of HEARTBEAT_MS: several may be lost
_IN_DATA_DIR = Path("<data-dir>")  # stands for the folder of that name in the data directory


def _about(
    reader: Callable[[str], Any],
    help: str,
    *,
    option: str = "",
    value: str = "",
    hidden: bool = False,
    repeat: bool = False,
    flag: bool = False,
) -> dict[str, Any]:
    """What a setting says of itself. ``option``: its name, where that is not the field's;
    ``value``: what stands for the value in ``--help``; ``hidden``: not shown there; ``flag``: the
    option alone says ``on``."""
    return {
        "read": reader,
        "help": help,
        "option": option,
        "value": value,
        "hidden": hidden,
        "repeat": repeat,
        "flag": flag,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one daemon. Build it with ``load``; plain construction is for tests."""

    host: str = field(
        default="127.0.0.1",
        metadata=_about(
            read.host, "address to listen on; the default is this machine only", value="HOST"
        ),
    )
    port: int = field(
        default=8000,
        metadata=_about(read.port, "port to listen on; 0 takes a free one", value="PORT"),
    )
    data_dir: Path = field(
        default=Path("gridd-data"),
        metadata=_about(read.path, "folder for everything the daemon keeps", value="DIR"),
    )
    public_url: str | None = field(
        default=None,
        metadata=_about(
            read.public_url, "URL under which others reach this grid, for links", value="URL"
        ),
    )
    blobs: Path | Bucket = field(
        default=_IN_DATA_DIR,
        metadata=_about(
            read.blobs,
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
            read.one_of("auto", "path", "virtual"),
            "where the bucket stands in addresses: path, virtual (in the host name), or auto: "
            "path where there is an --s3-endpoint",
            value="STYLE",
        ),
    )
    s3_link_ms: int = field(
        default=LINK_MS,
        metadata=_about(
            read.link_life,
            "how long after it was asked for a file on S3 may be read, at most 7d (default: 1h)",
            option="s3-link",
            value="TIME",
        ),
    )
    journal: Path = field(
        default=_IN_DATA_DIR,
        metadata=_about(
            read.store("journals", "nats", "NATS"),
            "folder for the journal (default: <data-dir>/journal)",
            value="DIR",
        ),
    )
    retention_ms: int = field(
        default=limits.RETENTION_MS,
        metadata=_about(
            read.retention,
            "how long a finished job is kept, such as 12h (default: 28d)",
            option="retention",
            value="TIME",
        ),
    )
    log_retention_ms: int = field(
        default=limits.LOG_RETENTION_MS,
        metadata=_about(
            read.retention,
            "how long its logs are kept at least; they never outlive the job (default: 7d)",
            option="log-retention",
            value="TIME",
        ),
    )
    connections_per_address: int = field(
        default=limits.CONNECTIONS_PER_ADDRESS_MAX,
        metadata=_about(
            read.count,
            "sockets and event streams that one address may hold; 0: no limit, for a server "
            f"behind a proxy (default: {limits.CONNECTIONS_PER_ADDRESS_MAX})",
            value="N",
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about(
            read.one_of(*read.LOG_LEVELS),
            f"least level to log: {', '.join(read.LOG_LEVELS)}",
            value="LEVEL",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=_about(
            read.one_of("text", "json"), "log for people (text) or machines (json)", value="FORMAT"
        ),
    )
    webhooks: Policy | None = field(
        default=None,
        metadata=_about(
            read.one_of(*POLICIES),
            "addresses that submitters may have called when a job waits and has ended: off, public "
            "or any (default: public; `gridd up`: any)",
            value="POLICY",
        ),
    )
    metrics: str = field(
        default="loopback",
        metadata=_about(
            read.one_of("off", "loopback", "all"),
            "who may read /metrics, the figures of all queues together: off, loopback (this "
            "machine) or all",
            value="WHO",
        ),
    )
    metrics_queues: bool = field(
        default=False,
        metadata=_about(
            read.switch,
            "name queues there; who reads a queue's name can use the queue (default: off)",
            value="on|off",
            flag=True,
        ),
    )
    allow_origin: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            read.origins,
            "origin whose pages may use a grid that is closed to other sites; "
            "may be repeated, or be a list with commas",
            value="ORIGIN",
            repeat=True,
        ),
    )
    lease_ms: int = field(
        default=limits.LEASE_MS,
        metadata=_about(
            read.lease,
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
    def webhook_policy(self) -> Policy:
        """Who may submit to a local grid is its owner, who can reach every address anyway, and
        whose receivers are mostly on this machine; a public one has strangers."""
        return self.webhooks or ("public" if self.open_to_all else "any")

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
        if not open_to_all and "host" in values and not read.is_loopback(values["host"]):
            complaints.append(
                f"--host {values['host']}: `gridd up` listens on this machine only; "
                "`gridd serve` listens where you say"
            )
        if complaints:
            raise ConfigError(complaints)
        return cls(**values, open_to_all=open_to_all)


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
