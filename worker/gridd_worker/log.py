"""The worker's log: one line for each fact, with the job that it is about, as text or as JSON.

Within the task of an attempt every line names the job, whoever writes it: the job is in the task's
context. What strangers named (a definition, a program's error) is written without its control
characters, so that no job can play with its owner's terminal.
"""

import datetime
import json
import logging
import sys
from contextvars import ContextVar
from typing import Any, Final

SHORT: Final = 8
"""Characters of a job's id that people are shown."""

about_job: ContextVar[str] = ContextVar("about_job", default="")
"""The job that the current task works on; empty outside an attempt."""

# Control characters, and the signs that turn the direction of what stands beside them.
_TURNING: Final = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_OBEYED: Final = (*range(32), *range(127, 160), *_TURNING)
_HIDDEN: Final = {code: "�" for code in _OBEYED if chr(code) not in "\n\t"}
_HIDDEN_IN_LINE: Final = _HIDDEN | {ord("\n"): " ⏎ "}


class _WithJob(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "job"):
            record.job = about_job.get()
        return True


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        short = getattr(record, "job", "")[:SHORT]
        if short and short not in record.message:
            record.message = f"job {short}: {record.message}"
        # One fact, one line: what a stranger named could else look like a line of ours.
        record.message = record.message.translate(_HIDDEN_IN_LINE)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


class JsonFormatter(logging.Formatter):
    """The members of the server's log: ``time`` (UTC), ``level``, ``logger``, ``event``; ``job``
    and ``exception`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        members: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if job := getattr(record, "job", ""):
            members["job"] = job
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return plain(json.dumps(members, ensure_ascii=False))


def plain(text: str) -> str:
    """``text`` without what a terminal would obey."""
    return text.translate(_HIDDEN)


def set_up(
    *, json_lines: bool = False, debug: bool = False, handler: logging.Handler | None = None
) -> None:
    """The log of this process: on stderr, or where ``handler`` puts it."""
    handler = handler or logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json_lines else TextFormatter())
    handler.addFilter(_WithJob())
    logger = logging.getLogger("gridd_worker")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
