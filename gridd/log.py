"""Logging: one line per fact, to standard error, for people (text) or machines (JSON).

Ids travel as fields: ``log.info("lease expired", extra={"job": job, "worker": worker})``. The
text form puts them behind the sentence, the JSON form makes them members. Nothing here decides
what is worth a line.
"""

import json
import logging
import sys
import time
from typing import Any, TextIO

_PACKAGES = ("gridd", "gridd_protocol")
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN_MEMBERS = frozenset({"time", "level", "logger", "event", "exception"})


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was handed in through ``extra``, in the order given."""
    return {name: value for name, value in vars(record).items() if name not in _RESERVED}


def _one_line(text: str) -> str:
    """Control characters escaped: text from a peer can't forge a line or steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TextFormatter(logging.Formatter):
    """``2026-01-31 12:00:00.123 info gridd: lease expired job=3f2a worker=w1``, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [
            f"{_moment(record, ' ')} {record.levelname.lower()} {record.name}:",
            _one_line(record.getMessage()),
        ]
        parts += [f"{name}={_shown(value)}" for name, value in fields_of(record).items()]
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``level``, ``logger``, ``event``, then the fields.

    A field named like one of those gets an underscore, so that none is lost.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(record, "T") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in fields_of(record).items():
            line[f"{name}_" if name in _OWN_MEMBERS else name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _moment(record: logging.LogRecord, joint: str) -> str:
    seconds = time.strftime(f"%Y-%m-%d{joint}%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}"


def _shown(value: Any) -> str:
    text = _one_line(str(value))
    return text if text and " " not in text and '"' not in text else json.dumps(text)


def setup(level: str, format: str, stream: TextIO | None = None) -> None:
    """Log our packages to ``stream`` (standard error when ``None``) from ``level`` on.

    Other libraries are heard from ``warning`` on. Calling it again replaces what an earlier call
    set up, so a line is never written twice.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.set_name("gridd")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "gridd"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(level.upper())
