"""The parser of the ``gridd`` command: every command, option and word of help.

Owns the commands of a server; those of a client are in ``gridd.client.arguments``. Reads nothing
but the command line: what values mean is checked where they are used.
"""

import argparse
from typing import Any

from gridd.client import arguments as client
from gridd.client.arguments import TARGET, command
from gridd.config import environment_name, option_name, settings
from gridd_protocol.version import __version__

HANDED_OVER = ("run", "doctor")
"""What ``gridd worker`` leaves to ``gridd-worker``."""

_FIRST_STEPS = """\
first steps:
  gridd up                                     # a grid on this machine, until Ctrl-C
  gridd run --image alpine:3.20 -- echo hello  # in another terminal; without Docker: no --image
  gridd status                                 # who works there, and on what

A grid elsewhere: export GRIDD_API=https://grid.example.org GRIDD_QUEUE=NAME
`gridd COMMAND --help` tells more about each, with examples; `gridd docs` is a short manual."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridd",
        description="A public compute grid: queues of container jobs.",
        epilog=_FIRST_STEPS,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gridd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_daemon(commands)
    _add_worker(commands)
    _add_journal(commands)
    client.add_commands(commands)
    _add_mcp(commands)
    about = command(commands, "help", "show this, or what a command can do")
    about.add_argument("about", metavar="COMMAND", nargs="?", help="which one")
    return parser


def _add_daemon(commands: Any) -> None:
    order = "An option goes over its environment variable, that over the file, that over the rest."
    serve = command(commands, "serve", "run the grid's server", epilog=order, aliases=["server"])
    about = "run a grid on this machine with one local worker"
    up = command(commands, "up", about, epilog=order, aliases=["local"])
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
        nargs="?" if about["flag"] else None,
        const="on" if about["flag"] else None,
        help=argparse.SUPPRESS if about["hidden"] else help,
    )


def _add_worker(commands: Any) -> None:
    worker = command(commands, "worker", "run a worker here, or list those of a queue")
    actions = worker.add_subparsers(dest="action", metavar="ACTION", required=True)
    # ``gridd.cli`` hands these over before it comes here; the lines are for the help
    for name in HANDED_OVER:
        about = f"the same as `gridd-worker {name}`, with its options"
        command(actions, name, about, add_help=False)
    client.add_worker_status(actions)


def _add_journal(commands: Any) -> None:
    journal = command(commands, "journal", "look at a journal that no server uses, or mend it")
    actions = journal.add_subparsers(dest="action", metavar="ACTION", required=True)
    codes = "exit codes: 0 all is whole; 1 something is damaged or lost; 2 nothing was looked at"
    check = command(actions, "check", "read all of a journal and change nothing", epilog=codes)
    repair = command(
        actions, "repair", "write what is whole in a journal to a new directory", epilog=codes
    )
    for parser in (check, repair):
        parser.add_argument("directory", metavar="DIR", help="such as gridd-data/journal")
        parser.add_argument("--json", action="store_true", help="JSON on standard output")
    repair.add_argument("new_directory", metavar="NEW_DIR", help="must not exist, or be empty")


def _add_mcp(commands: Any) -> None:
    about = "serve a grid's tools to a desktop client (Model Context Protocol, over stdio)"
    mcp = command(commands, "mcp", about, epilog=TARGET)
    mcp.add_argument("--api", metavar="URL", help="the grid [GRIDD_API]")
    mcp.add_argument("--queue", metavar="NAME", help="the queue when none is named [GRIDD_QUEUE]")
