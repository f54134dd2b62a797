"""``gridd-worker``: reads the command line, sets up logging and the loop, runs the worker or looks
at what it would need.

Exit codes: 0 after a drain, or when nothing is wrong; 1 when it could not start (the data directory
or the id is another's), or something is wrong; 2 for settings that do not fit.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from gridd_protocol import __version__
from gridd_worker.agent import CannotStart, run_worker
from gridd_worker.config import QUEUES, SETTINGS, Config, ConfigError, load
from gridd_worker.log import set_up
from gridd_worker.runtime import Finding
from gridd_worker.runtimes import make_runtime
from gridd_worker.view import View, wanted

_RUN_HELP = """\
Takes jobs from the named queues, runs them, reports back. Stops on SIGTERM or Ctrl-C: running
jobs may go on for the time of --drain, then they are given back; a second signal gives them back
at once. A terminal gets a view of the jobs; elsewhere, and with --plain, there are log lines only.
"""
_DOCTOR_HELP = """\
Looks at the engine, the disk, the clock, the GPUs, the server and each QUEUE that is named, with
the settings that `run` would have, and says what to do. Takes no jobs. Exit code 1 when something
must be done before jobs can run.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    file = parsed.config or os.environ.get("GRIDD_WORKER_CONFIG")
    options = {setting.field: getattr(parsed, setting.field) for setting in SETTINGS}
    try:
        config = load(
            parsed.queues,
            options,
            os.environ,
            Path(file) if file else None,
            queue_needed=parsed.does is _serve,
        )
    except ConfigError as error:
        for complaint in error.complaints:
            print(f"gridd-worker: {complaint}", file=sys.stderr)
        return 2
    does: Callable[[Config, argparse.Namespace], int] = parsed.does
    try:
        return does(config, parsed)
    except CannotStart as error:
        print(f"gridd-worker: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # where the loop can't handle signals, and before it does
        return 130


def _serve(config: Config, _: argparse.Namespace) -> int:
    json_lines = config.log_format == "json"
    shown = wanted(sys.stderr, plain_lines=config.plain, json_lines=json_lines)
    view = View(sys.stderr) if shown else None
    set_up(json_lines=json_lines, debug=config.debug, handler=view)
    _run(run_worker(config, on_ready=_say_ready, signals=True, view=view))
    return 0


def _say_ready(line: str) -> None:
    if sys.stdout.isatty():
        logging.getLogger("gridd_worker").info("%s", line)  # it would tear the view
    else:
        print(line, flush=True)


def _examine(config: Config, parsed: argparse.Namespace) -> int:
    findings: list[Finding] = []

    async def look() -> None:
        from gridd_worker.doctor import examine  # what only it needs is not loaded to serve

        runtime = make_runtime(config, config.id or "doctor", owner=False)
        findings.extend(await examine(config, runtime, parsed.image))

    _run(look())
    from gridd_worker.doctor import as_json, told

    if parsed.json:
        print(json.dumps(as_json(findings), indent=2, ensure_ascii=False))
    else:
        for line in told(findings):
            print(line)
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _run(worker: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        asyncio.run(worker)
    else:
        uvloop.run(worker)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridd-worker", description="Runs the jobs of a gridd queue on this machine."
    )
    parser.add_argument("--version", action="version", version=f"gridd-worker {__version__}")
    commands = parser.add_subparsers(required=True, metavar="run|doctor")
    run = commands.add_parser("run", help="serve queues", description=_RUN_HELP)
    run.set_defaults(does=_serve)
    _add_settings(run)
    doctor = commands.add_parser(
        "doctor", help="look at what a worker needs here", description=_DOCTOR_HELP
    )
    doctor.set_defaults(does=_examine)
    doctor.add_argument("--image", metavar="NAME", help="have this image here, pulled if need be")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    _add_settings(doctor)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """``doctor`` takes what ``run`` takes, so that it looks at the same worker."""
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help=f"{QUEUES.help}{_also(QUEUES)}")
    for setting in SETTINGS:
        names = [f"--{setting.option}"] + ([f"-{setting.short}"] if setting.short else [])
        text = f"{setting.help}{_also(setting)}"
        if setting.value:
            parser.add_argument(*names, dest=setting.field, metavar=setting.value, help=text)
        else:
            parser.add_argument(*names, dest=setting.field, action="store_const", const="true",
                                help=text)  # fmt: skip
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file with these settings [GRIDD_WORKER_CONFIG]"
    )


def _also(setting: Any) -> str:
    return f" [{setting.environment}]"


if __name__ == "__main__":
    sys.exit(main())
