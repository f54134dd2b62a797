"""The ``gridd`` command: reads the command line and hands over. What commands do is elsewhere.

Heavy modules are imported by the command that needs them, so that ``--help`` is quick.
"""

import argparse
import asyncio
import os
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gridd.arguments import HANDED_OVER, build_parser
from gridd.client.errors import Exit, GridError, UsageError
from gridd.config import Config
from gridd.errors import BlobError, ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code. Never lets an exception out."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(given)
    except SystemExit as exit:  # argparse: help, version, wrong usage
        return exit.code if isinstance(exit.code, int) else Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # the reader of our output is gone; Python would complain once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.PIPE_CLOSED
    except Exception as error:
        return _told(error)


def _told(error: Exception) -> int:
    """One sentence for each thing that is wrong; a trace only when asked for."""
    if os.environ.get("GRIDD_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, ConfigError):
        for complaint in error.complaints:
            _say(complaint)
        return Exit.USAGE
    if isinstance(error, UsageError):
        _say(str(error))
        return Exit.USAGE
    if isinstance(error, GridError):
        _say(error.message)
        return Exit.TROUBLE
    if isinstance(error, (OSError, BlobError)) or type(error).__module__.startswith("gridd."):
        _say(str(error))
        return Exit.TROUBLE
    _say(f"unexpected {type(error).__name__}: {error} (GRIDD_DEBUG=1 shows where)")
    return Exit.TROUBLE


def _say(text: str) -> None:
    print(f"gridd: {text}", file=sys.stderr)


def _dispatch(given: list[str]) -> int:
    if given[:1] == ["worker"] and given[1:2] and given[1] in HANDED_OVER:
        return _worker(given[1:])
    if not given:
        build_parser().print_help(sys.stderr)
        return Exit.USAGE
    given, words = _without_words(given)
    parser = build_parser()
    args, unknown = parser.parse_known_args(given)
    if unknown:
        _refuse(parser, args, unknown)
    args.words = words
    if words and not getattr(args, "takes_words", False):
        raise UsageError(f"`gridd {args.command}` takes no words after `--`")
    if args.function in ("serve", "up"):
        return _daemon(args)
    if args.command == "journal":
        from gridd.inspection import commands

        return commands.run(args)
    if args.command == "mcp":
        return _mcp(args)
    if args.command == "help":
        build_parser().parse_args([*([args.about] if args.about else []), "--help"])
    return _client(args)


def _refuse(
    parser: argparse.ArgumentParser, args: argparse.Namespace, unknown: Sequence[str]
) -> None:
    if getattr(args, "takes_words", False) and not unknown[0].startswith("-"):
        raise UsageError(
            f"{shlex.join(unknown)}: what the job runs stands after `--`, as in "
            f"`gridd {args.command} --image alpine:3.20 -- echo hello`"
        )
    parser.error(
        f"unrecognized arguments: {shlex.join(unknown)}; see `gridd {args.command} --help`"
    )


def _worker(given: list[str]) -> int:
    """The worker is a program of its own (its code is not imported): we become it."""
    command = [sys.executable, "-m", "gridd_worker.cli", *given]
    if sys.platform != "win32":  # there, the old process would end before the new one
        os.execv(sys.executable, command)
    return subprocess.run(command, check=False).returncode


def _without_words(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands after the first ``--`` is the job's, to the letter."""
    if "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _daemon(args: argparse.Namespace) -> int:
    if args.function == "up":
        return _up(args)
    config = Config.load(vars(args), os.environ)
    from gridd import log
    from gridd.server import serve

    log.setup(config.log_level, config.log_format)
    return _run_loop(serve(config, ready=_ready))


def _up(args: argparse.Namespace) -> int:
    from gridd import local, log

    complaints: list[str] = []
    with _gathered(complaints):
        config = Config.load(vars(args), os.environ, open_to_all=False)
    with _gathered(complaints):
        options = local.LocalOptions.load(args.runtime, args.cpus, os.environ)
    if complaints:
        raise ConfigError(complaints)
    log.setup(config.log_level, config.log_format)
    return _run_loop(local.up(config, options, ready=_ready))


@contextmanager
def _gathered(complaints: list[str]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        complaints += error.complaints


def _mcp(args: argparse.Namespace) -> int:
    from gridd.client.target import resolve
    from gridd.mcp import stdio

    target = resolve(args.api, args.queue, os.environ)
    _say(f"tools for {target.api}, queue {target.queue}, on standard input and output")
    return asyncio.run(stdio.serve(target))


def _run_loop(main: Any) -> int:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return int(asyncio.run(main))
    return int(uvloop.run(main))


def _ready(url: str) -> None:
    print(f"gridd is ready at {url}", flush=True)


def _client(args: argparse.Namespace) -> int:
    from gridd.client import commands
    from gridd.client.output import Console

    console = Console(quiet=getattr(args, "quiet", False), machine=getattr(args, "json", False))
    command = getattr(commands, args.function)
    return int(asyncio.run(command(args, console)))


if __name__ == "__main__":
    sys.exit(main())
