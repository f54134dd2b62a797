"""``gridd-worker``: reads the command line, sets up logging and the loop, runs the worker.

Exit codes: 0 after a drain, 1 when it could not start (the runtime or the data directory can't be
used), 2 for settings that do not fit.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from gridd_protocol import __version__
from gridd_worker.agent import CannotStart, run_worker
from gridd_worker.config import QUEUES, SETTINGS, Config, ConfigError, load

_RUN_HELP = """\
Takes jobs from the named queues, runs them, reports back. Stops on SIGTERM or Ctrl-C: running
jobs may go on for the time of --drain, then they are given back; a second signal gives them back
at once.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    file = parsed.config or os.environ.get("GRIDD_WORKER_CONFIG")
    options = {setting.field: getattr(parsed, setting.field) for setting in SETTINGS}
    try:
        config = load(parsed.queues, options, os.environ, Path(file) if file else None)
    except ConfigError as error:
        for complaint in error.complaints:
            print(f"gridd-worker: {complaint}", file=sys.stderr)
        return 2
    _log_to_stderr(config)
    try:
        _run(run_worker(config, on_ready=lambda line: print(line, flush=True), signals=True))
    except CannotStart as error:
        print(f"gridd-worker: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # where the loop can't handle signals, and before it does
        return 130
    return 0


def _run(worker: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        asyncio.run(worker)
    else:
        uvloop.run(worker)


def _log_to_stderr(config: Config) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("gridd_worker")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if config.debug else logging.INFO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridd-worker", description="Runs the jobs of a gridd queue on this machine."
    )
    parser.add_argument("--version", action="version", version=f"gridd-worker {__version__}")
    commands = parser.add_subparsers(required=True, metavar="run")
    run = commands.add_parser("run", help="serve queues", description=_RUN_HELP)
    run.add_argument("queues", nargs="*", metavar="QUEUE", help=f"{QUEUES.help}{_also(QUEUES)}")
    for setting in SETTINGS:
        names = [f"--{setting.option}"] + ([f"-{setting.short}"] if setting.short else [])
        text = f"{setting.help}{_also(setting)}"
        if setting.value:
            run.add_argument(*names, dest=setting.field, metavar=setting.value, help=text)
        else:
            run.add_argument(*names, dest=setting.field, action="store_const", const="true",
                             help=text)  # fmt: skip
    run.add_argument(
        "--config", metavar="FILE", help="TOML file with these settings [GRIDD_WORKER_CONFIG]"
    )
    return parser


def _also(setting: Any) -> str:
    return f" [{setting.environment}]"


if __name__ == "__main__":
    sys.exit(main())
