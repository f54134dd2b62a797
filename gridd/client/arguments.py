"""The client's commands as the parser knows them. Names, flags and defaults are those of
upstream's ``cq`` (BROWSER 4.2) where it has them; ``docs/command-line.md`` sets both side by side.

Each command names in ``function`` what ``gridd.client.commands`` does for it.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from gridd.client.errors import MEANINGS
from gridd.guide import examples

_EXIT_CODES = "\n".join(
    (
        "exit codes: the program's own, or",
        *(f"  {code:<5}{words.replace('`', '')}" for code, words in MEANINGS.items()),
        "A program may exit with these too: --json tells them apart.",
    )
)

TARGET = """\
The grid is --api, GRIDD_API or CQ_API (default http://127.0.0.1:8000); the queue is --queue,
GRIDD_QUEUE or CQ_QUEUE (default: local, for a grid on this machine)."""


def command(
    commands: Any, name: str, help: str, epilog: str = "", **more: Any
) -> argparse.ArgumentParser:
    """A parser for ``name``; ``help`` is also its description. Its examples come before
    ``epilog``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )
    parser.epilog = f"{examples.help_text(parser.prog)}\n\n{epilog}"
    parser.set_defaults(function=name.replace("-", "_"))
    return parser


def add_commands(commands: Any) -> None:
    _add_queue(commands)
    _add_submitting(commands)
    _add_following(commands)
    _add_questions(commands)
    _add_changes(commands)
    _add_files(commands)
    _add_old_names(commands)
    doctor = command(commands, "doctor", "look for what a client or a server would miss here")
    _add_target(doctor)
    docs = command(commands, "docs", "print how to use a grid, for people and their programs")
    about = "the whole (llms, the default), or the short one (skill)"
    docs.add_argument("text", choices=("llms", "skill"), nargs="?", default="llms", help=about)
    docs.add_argument("--api", metavar="URL", help="the grid that it speaks of [GRIDD_API]")
    docs.add_argument("--queue", metavar="NAME", help="the queue [GRIDD_QUEUE]")


def add_worker_status(actions: Any) -> None:
    status = command(actions, "status", "list the workers of a queue", epilog=TARGET)
    status.set_defaults(function="worker_status")
    _add_target(status)


def _add_queue(commands: Any) -> None:
    queue = command(commands, "queue", "make names for queues")
    actions = queue.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = command(actions, "new", "print a queue name that nobody can guess")
    new.add_argument("--api", metavar="URL", help="the grid, for the links that are shown")
    new.set_defaults(function="queue_new")


def _add_submitting(commands: Any) -> None:
    run = command(
        commands,
        "run",
        "submit a job, show its output, exit with its code",
        usage="gridd run [options] [-- WORD ...]",
        epilog=f"{_EXIT_CODES}\n{TARGET}",
    )
    submit = command(
        commands,
        "submit",
        "submit a job and print its id",
        usage="gridd submit [options] [-- WORD ...]",
        epilog=TARGET,
    )
    url = command(
        commands,
        "url",
        "print the link to a job's page, or one that holds a whole definition",
        usage="gridd url JOB | gridd url [options] [-- WORD ...]",
        epilog=TARGET,
    )
    url.add_argument("job", metavar="JOB", nargs="?", help="id of a job")
    for parser in (run, submit, url):
        _add_target(parser)
        _add_job_flags(parser)
        parser.set_defaults(takes_words=True)
    for parser in (run, submit):
        parser.add_argument(
            "--dry-run", action="store_true", help="print the job's id; send nothing"
        )
    for parser in (submit, url):
        _add_quiet(parser)
    _add_seeing_through(run)
    run.add_argument("--no-follow", action="store_true", help="print the id and stop")


def _add_following(commands: Any) -> None:
    codes = f"{_EXIT_CODES}\n{TARGET}"
    wait = command(commands, "wait", "follow a job that was submitted, as run does", epilog=codes)
    rerun = command(commands, "rerun", "forget a job's answer and run it again", epilog=codes)
    for parser in (wait, rerun):
        parser.add_argument("job", metavar="JOB", help="its id")
        _add_target(parser)
        _add_seeing_through(parser)
    wait.add_argument("--namespace", metavar="NAME", help="namespace to cancel on Ctrl-C")
    rerun.add_argument("--namespace", metavar="NAME", help="holder of the new run")
    rerun.add_argument("--no-follow", action="store_true", help="print the id and stop")


def _add_seeing_through(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", metavar="DIR", help="save the outputs there")
    parser.add_argument("--timeout", metavar="TIME", help="stop waiting then; the job goes on")
    parser.add_argument("--cancel-on-interrupt", action="store_true", help="Ctrl-C cancels the job")
    _add_quiet(parser)


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no remarks; the data alone")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api", metavar="URL", help="the grid [GRIDD_API]")
    parser.add_argument("--queue", metavar="NAME", help="the queue [GRIDD_QUEUE]")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def read_job_flags(line: Sequence[str]) -> argparse.Namespace:
    """The flags of a job alone, as ``run`` reads them."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    _add_job_flags(parser)
    return parser.parse_args(line)


def _add_job_flags(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("the job")
    add = what.add_argument
    add(
        "--definition",
        metavar="FILE|LINK",
        help="start from this job file (JSON or TOML; -: standard input) or link to a page",
    )
    add("--image", metavar="NAME", help="container image")
    add("--command", metavar="TEXT", dest="command_text", help="command, or words after `--`")
    add("--entrypoint", metavar="TEXT", help="in place of the image's own")
    add("--workdir", metavar="DIR", help="where the command starts")
    add("--env", metavar="K=V", action="append", help="may be repeated")
    add(
        "--input",
        metavar="NAME=VALUE|@PATH",
        action="append",
        help="file below /inputs; a folder's files go below NAME (.: below /inputs itself)",
    )
    add(
        "--config-file",
        "--config",
        metavar="NAME=VALUE|@PATH",
        action="append",
        help="file of the definition; an absolute name is its place in the container",
    )
    add("--max-duration", metavar="TIME", help="longest run, such as 30m")
    add("--cpus", metavar="N", help="such as 0.5")
    add("--gpus", metavar="N", help="how many")
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
    _add_build_flags(parser.add_argument_group("an image to build instead").add_argument)


def _add_build_flags(add: Any) -> None:
    add("--dockerfile", metavar="PATH", help="a Dockerfile of this machine")
    add("--dockerfile-inline", metavar="TEXT", help="a Dockerfile, to the letter")
    add("--context", metavar="URL", help="archive or repository with the build's files")
    add(
        "--context-dir",
        metavar="DIR",
        help="folder with the build's files, uploaded but for what its .dockerignore names",
    )
    add("--build-context", metavar="DIR", help="folder inside the context")
    add("--filename", metavar="NAME", help="name of the Dockerfile in the context")
    add("--target", metavar="STAGE", help="stage of the Dockerfile to build")
    add("--platform", metavar="NAME", help="such as linux/amd64")
    add("--build-arg", metavar="K=V", action="append", help="may be repeated")


def _add_questions(commands: Any) -> None:
    logs = command(commands, "logs", "print a job's output", epilog=TARGET)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    kinds = ("build", "run", "both")
    logs.add_argument("--kind", choices=kinds, default="both", help="which lines (default: both)")
    logs.add_argument("--since", metavar="N", type=_line_number, default=0, help="from line N on")
    result = command(commands, "result", "print a job's result as JSON", epilog=TARGET)
    definition = command(commands, "definition", "print a job's definition as JSON", epilog=TARGET)
    definition.add_argument(
        "job", metavar="JOB|LINK|FILE", help="an id, a link to a page, a job file, or -"
    )
    show = command(commands, "open", "open a job's page in a browser, and print it", epilog=TARGET)
    show.set_defaults(function="open_page")
    story = command(commands, "story", "tell what happened to a job, and when", epilog=TARGET)
    for parser in (logs, result, show, story):
        parser.add_argument("job", metavar="JOB", help="its id")
    status = command(commands, "status", "show a queue's jobs and workers", epilog=TARGET)
    listed = command(commands, "list", "list a queue's jobs", epilog=TARGET)
    listed.set_defaults(function="list_jobs")
    for parser in (logs, result, definition, show, story, status, listed):
        _add_target(parser)


def _add_changes(commands: Any) -> None:
    cancel = command(commands, "cancel", "cancel a job", epilog=TARGET)
    cancel.add_argument("--message", metavar="TEXT", help="why, for the record")
    delete = command(commands, "delete", "forget a job and its answer", epilog=TARGET)
    copy = command(commands, "copy", "submit a job's definition to another queue", epilog=TARGET)
    copy.add_argument("--to", metavar="NAME", required=True, help="the other queue")
    cancel.add_argument("--namespace", metavar="NAME", help="holder to release (*: all)")
    delete.add_argument("--namespace", metavar="NAME", help="holder to release (default: all)")
    copy.add_argument("--namespace", metavar="NAME", help="holder of the copy")
    for parser in (cancel, delete, copy):
        parser.add_argument("job", metavar="JOB", help="its id")
        _add_target(parser)


def _add_files(commands: Any) -> None:
    outputs = command(commands, "outputs", "save a job's output files", epilog=TARGET)
    outputs.add_argument("job", metavar="JOB", help="its id")
    about = "where to (default: ./outputs)"
    outputs.add_argument("--output-dir", metavar="DIR", default="./outputs", help=about)
    outputs.add_argument("--quiet", action="store_true", help="the paths alone")
    _add_target(outputs)
    upload = command(commands, "upload", "upload a file and print its URL")
    upload.add_argument("path", metavar="PATH", help="the file")
    upload.add_argument("--api", metavar="URL", help="the grid [GRIDD_API]")
    upload.add_argument("--json", action="store_true", help="JSON on standard output")
    upload.add_argument("--quiet", action="store_true", help="no progress")


def _add_old_names(commands: Any) -> None:
    """Upstream's ``mtpg job add`` and ``mtpg job await`` (BROWSER 4.1)."""
    job = command(commands, "job", "submit and wait under the names of upstream's mtpg")
    actions = job.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = command(actions, "add", "submit a job and print its state as JSON", epilog=TARGET)
    wait = command(actions, "await", "wait for a job and print it as JSON", epilog=TARGET)
    for parser in (add, wait):
        parser.add_argument("queue", metavar="QUEUE", help="its name")
    wait.add_argument("job", metavar="JOB", help="its id")
    add.add_argument("source", metavar="-", nargs="?", choices=["-"], help="definition on stdin")
    add.add_argument("-m", "--image", metavar="NAME", help="(default: alpine:latest)")
    add.add_argument("-r", "--git", metavar="URL", help="repository to build instead")
    add.add_argument("-f", "--file", metavar="PATH", action="append", help="input, may be repeated")
    add.add_argument("-c", "--command", metavar="TEXT", dest="command_text", help="what runs")
    add.add_argument("-w", "--wait", action="store_true", help="wait for the result")
    add.add_argument("--debug", action="store_true", help="mark the job as one to debug")
    where = "where outputs are saved (default: ./outputs)"
    for parser in (add, wait):
        parser.add_argument("-o", "--outputs", metavar="DIR", default="./outputs", help=where)
        parser.add_argument("--api", metavar="URL", help="the grid [API_SERVER_ADDRESS]")
        parser.add_argument("--quiet", action="store_true", help="no remarks")
    add.set_defaults(function="job_add")
    wait.set_defaults(function="job_await")


def _line_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is not a line number")
    return int(text)
