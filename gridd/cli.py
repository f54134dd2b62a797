"""The ``gridd`` command: reads the command line and hands over. What commands do is elsewhere.

Heavy modules are imported by the command that needs them, so that ``--help`` is quick.
"""

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gridd.client.errors import Exit, GridError, UsageError
from gridd.config import Config, environment_name, option_name, settings
from gridd.errors import BlobError, ConfigError
from gridd_protocol.version import __version__

_EXIT_CODES = """\
exit codes: the container's own; 1 the job failed (image, inputs or outputs); 2 wrong usage;
3 cancelled or replaced; 124 timed out; 125 the grid refused or can't be reached; 130 Ctrl-C
(the job goes on). A program may exit with these too: --json tells them apart."""

_TARGET = """\
The grid is --api, GRIDD_API or CQ_API (default http://127.0.0.1:8000); the queue is --queue,
GRIDD_QUEUE or CQ_QUEUE (default: local, for a grid on this machine)."""


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
    given, words = _without_words(given)
    args = _parser().parse_args(given)
    args.words = words
    if words and not getattr(args, "takes_words", False):
        raise UsageError(f"`gridd {args.command}` takes no words after `--`")
    if args.command in ("serve", "up"):
        return _daemon(args)
    if args.command == "journal":
        from gridd.inspection import commands

        return commands.run(args)
    if args.command == "mcp":
        return _mcp(args)
    return _client(args)


def _without_words(given: list[str]) -> tuple[list[str], list[str]]:
    """What stands after the first ``--`` is the job's, to the letter."""
    if "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _daemon(args: argparse.Namespace) -> int:
    if args.command == "up":
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


# --- the parser ------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridd",
        description="A public compute grid: queues of container jobs.",
        epilog="`gridd COMMAND --help` tells more about each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gridd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_daemon(commands)
    _add_journal(commands)
    _add_queue(commands)
    _add_job_commands(commands)
    _add_questions(commands)
    _add_mcp(commands)
    return parser


def _command(commands: Any, name: str, help: str, **more: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )
    parser.set_defaults(function=name.replace("-", "_"))
    return parser


def _add_daemon(commands: Any) -> None:
    order = "An option goes over its environment variable, that over the file, that over the rest."
    serve = _command(commands, "serve", "run the grid's server", epilog=order)
    up = _command(commands, "up", "run a grid on this machine with one local worker", epilog=order)
    for parser in (serve, up):
        parser.add_argument(
            "--config", metavar="FILE", help="TOML file with these settings [GRIDD_CONFIG]"
        )
        for setting in settings():
            _add_setting(parser, setting)
    up.add_argument(
        "--runtime",
        metavar="NAME",
        help="how the worker runs jobs: docker or process (default: docker where an engine "
        "answers) [GRIDD_RUNTIME]",
    )
    up.add_argument("--cpus", metavar="N", help="cpus for the worker (default: all) [GRIDD_CPUS]")


def _add_setting(parser: argparse.ArgumentParser, setting: Any) -> None:
    about = setting.metadata
    default = setting.default
    shown = "" if "(default" in about["help"] or default in (None, ()) else f" (default: {default})"
    help = f"{about['help']}{shown} [{environment_name(setting)}]"
    parser.add_argument(
        f"--{option_name(setting)}",
        dest=setting.name,
        metavar=about["value"],
        action="append" if about["repeat"] else "store",
        help=argparse.SUPPRESS if about["hidden"] else help,
    )


def _add_journal(commands: Any) -> None:
    journal = _command(commands, "journal", "look at a journal that no server uses, or mend it")
    actions = journal.add_subparsers(dest="action", metavar="ACTION", required=True)
    codes = "exit codes: 0 all is whole; 1 something is damaged or lost; 2 nothing was looked at"
    check = _command(actions, "check", "read all of a journal and change nothing", epilog=codes)
    repair = _command(
        actions, "repair", "write what is whole in a journal to a new directory", epilog=codes
    )
    for parser in (check, repair):
        parser.add_argument("directory", metavar="DIR", help="such as gridd-data/journal")
        parser.add_argument("--json", action="store_true", help="JSON on standard output")
    repair.add_argument("new_directory", metavar="NEW_DIR", help="must not exist, or be empty")


def _add_queue(commands: Any) -> None:
    queue = _command(commands, "queue", "make names for queues")
    actions = queue.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = _command(actions, "new", "print a queue name that nobody can guess")
    new.add_argument("--api", metavar="URL", help="the grid, for the links that are shown")
    new.set_defaults(function="queue_new")


def _add_job_commands(commands: Any) -> None:
    run = _command(
        commands,
        "run",
        "submit a job, show its output, exit with its code",
        usage="gridd run [options] [-- WORD ...]",
        epilog=f"{_EXIT_CODES}\n{_TARGET}",
    )
    submit = _command(
        commands,
        "submit",
        "submit a job and print its id",
        usage="gridd submit [options] [-- WORD ...]",
        epilog=_TARGET,
    )
    url = _command(
        commands,
        "url",
        "print the link to a job's page, or one that holds a whole definition",
        usage="gridd url JOB | gridd url [options] [-- WORD ...]",
        epilog=_TARGET,
    )
    url.add_argument("job", metavar="JOB", nargs="?", help="id of a job")
    for parser in (run, submit, url):
        _add_target(parser)
        _add_job_flags(parser)
        parser.set_defaults(takes_words=True)
    run.add_argument("--no-follow", action="store_true", help="print the id and stop")
    wait = _command(
        commands,
        "wait",
        "follow a job that was submitted, as run does",
        epilog=f"{_EXIT_CODES}\n{_TARGET}",
    )
    wait.add_argument("job", metavar="JOB")
    wait.add_argument("--namespace", metavar="NAME", help="namespace to cancel on Ctrl-C")
    _add_target(wait)
    for parser in (run, wait):
        parser.add_argument("--output-dir", metavar="DIR", help="save the outputs there")
        parser.add_argument(
            "--cancel-on-interrupt", action="store_true", help="Ctrl-C cancels the job"
        )
    for parser in (run, wait, submit, url):
        parser.add_argument("--quiet", action="store_true", help="no remarks; the data alone")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api", metavar="URL", help="the grid [GRIDD_API]")
    parser.add_argument("--queue", metavar="NAME", help="the queue [GRIDD_QUEUE]")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def _add_job_flags(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("the job")
    add = what.add_argument
    add("--definition", metavar="FILE", help="start from this JSON definition (-: standard input)")
    add("--image", metavar="NAME", help="container image")
    add("--command", metavar="TEXT", dest="command_text", help="command, or words after `--`")
    add("--entrypoint", metavar="TEXT")
    add("--workdir", metavar="DIR")
    add("--env", metavar="K=V", action="append", help="may be repeated")
    add("--input", metavar="NAME=VALUE|@PATH", action="append", help="file below /inputs")
    add(
        "--config-file",
        "--config",
        metavar="NAME=VALUE|@PATH",
        action="append",
        help="file of the definition; an absolute name is its place in the container",
    )
    add("--max-duration", metavar="TIME", help="longest run, such as 30m")
    add("--cpus", metavar="N")
    add("--gpus", metavar="N")
    add("--memory", metavar="SIZE", help="such as 2g")
    add("--shm-size", metavar="SIZE", help="size of /dev/shm")
    add("--tag", metavar="TAG", action="append", help="worker tag to ask for")
    add("--namespace", metavar="NAME", help="holder of the job; one live job each, but for _")
    add(
        "--nonce",
        metavar="VALUE",
        nargs="?",
        const="",
        help="make the job unlike any before (default: the time)",
    )
    build = parser.add_argument_group("an image to build instead")
    add = build.add_argument
    add("--dockerfile", metavar="PATH")
    add("--dockerfile-inline", metavar="TEXT")
    add("--context", metavar="URL", help="archive or repository with the build's files")
    add("--context-dir", metavar="DIR", help="folder with the build's files, uploaded")
    add("--build-context", metavar="DIR", help="folder inside the context")
    add("--filename", metavar="NAME", help="name of the Dockerfile in the context")
    add("--target", metavar="STAGE")
    add("--platform", metavar="NAME")
    add("--build-arg", metavar="K=V", action="append")


def _add_questions(commands: Any) -> None:
    logs = _command(commands, "logs", "print a job's output", epilog=_TARGET)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    logs.add_argument("--kind", choices=("build", "run", "both"), default="both")
    logs.add_argument("--since", metavar="N", type=_line_number, default=0, help="from line N on")
    result = _command(commands, "result", "print a job's result as JSON", epilog=_TARGET)
    outputs = _command(commands, "outputs", "save a job's output files", epilog=_TARGET)
    outputs.add_argument("--output-dir", metavar="DIR", default="./outputs")
    outputs.add_argument("--quiet", action="store_true", help="the paths alone")
    cancel = _command(commands, "cancel", "cancel a job", epilog=_TARGET)
    cancel.add_argument("--namespace", metavar="NAME", help="holder to release (*: all)")
    cancel.add_argument("--message", metavar="TEXT", help="why, for the record")
    for parser in (logs, result, outputs, cancel):
        parser.add_argument("job", metavar="JOB")
        _add_target(parser)
    status = _command(commands, "status", "show a queue's jobs and workers", epilog=_TARGET)
    _add_target(status)
    upload = _command(commands, "upload", "upload a file and print its URL")
    upload.add_argument("path", metavar="PATH")
    upload.add_argument("--api", metavar="URL", help="the grid [GRIDD_API]")
    upload.add_argument("--json", action="store_true", help="JSON on standard output")
    upload.add_argument("--quiet", action="store_true", help="no progress")


def _add_mcp(commands: Any) -> None:
    about = "serve a grid's tools to a desktop client (Model Context Protocol, over stdio)"
    mcp = _command(commands, "mcp", about, epilog=_TARGET)
    mcp.add_argument("--api", metavar="URL", help="the grid [GRIDD_API]")
    mcp.add_argument("--queue", metavar="NAME", help="the queue when none is named [GRIDD_QUEUE]")


def _line_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is not a line number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
