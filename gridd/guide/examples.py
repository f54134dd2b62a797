"""An example, or several, of each command: shown by ``gridd COMMAND --help``, in ``/llms.txt`` and
in docs/command-line.md, and run by tests in this order, in one shell.

They can be pasted as they stand: ``JOB`` is set by the example of ``gridd submit``, the files are
``FILES``, and grid and queue are what ``GRIDD_API`` and ``GRIDD_QUEUE`` say. No imports: every
start of the command line reads this.
"""

from typing import Final, NamedTuple


class Example(NamedTuple):
    """``stays``: the command runs until it is stopped."""

    line: str
    about: str = ""
    stays: bool = False

    @property
    def remark(self) -> str:
        return f"{self.about} ({STAYS})" if self.stays else self.about


STAYS: Final = "until Ctrl-C"

FILES: Final = {
    "folder/numbers.txt": "3\n1\n2\n",
    "folder/Dockerfile": "FROM alpine:3.20\nCOPY numbers.txt /\n",
    "job.toml": """\
image = "alpine:3.20"
command = "sort /inputs/numbers.txt"
inputs = { "numbers.txt" = { path = "folder/numbers.txt" } }
""",
}

_Commands = dict[str, tuple[Example, ...]]

GROUPS: Final[dict[str, _Commands]] = {
    "A job": {
        "gridd run": (
            Example(
                "gridd run --image alpine:3.20 -- echo hello",
                "shows the log, exits with the program's code",
            ),
            Example("gridd run --definition job.toml --env SEED=7", "a job file; flags go over it"),
            Example(
                "gridd run --image alpine:3.20 --input data=@folder --input note=hi "
                "--output-dir out -- cp -r /inputs/data /inputs/note /outputs"
            ),
            Example(
                "gridd run --image alpine:3.20 --timeout 10m --nonce -- date",
                "never answered from memory; stops waiting after 10 minutes",
            ),
            Example(
                "gridd run --context-dir folder -- sort /numbers.txt",
                "in an image built from the folder and its Dockerfile",
            ),
        ),
        "gridd submit": (
            Example(
                "JOB=$(gridd submit --image alpine:3.20 -- sh -c 'echo hi | tee /outputs/hi.txt')",
                "prints the id and returns",
            ),
            Example(
                "gridd submit --dry-run --image alpine:3.20 -- sh -c 'echo hi | tee "
                "/outputs/hi.txt'",
                "the same id, and nothing is sent",
            ),
        ),
    },
    "Afterwards": {
        "gridd wait": (Example("gridd wait $JOB", "as run does: log, then exit code"),),
        "gridd logs": (Example("gridd logs -f $JOB", "all of its log, to its end"),),
        "gridd result": (Example("gridd result $JOB", "JSON; null while there is none"),),
        "gridd outputs": (
            Example("gridd outputs --output-dir out $JOB", "its files, sub-folders kept"),
        ),
        "gridd definition": (
            Example("gridd definition $JOB"),
            Example("gridd definition job.toml", "also of a link"),
        ),
        "gridd story": (Example("gridd story $JOB", "what happened to it, and when"),),
        "gridd status": (Example("gridd status", "jobs by state, and the workers"),),
        "gridd list": (Example("gridd list", "jobs that wait or run, and those that just ended"),),
        "gridd url": (
            Example("gridd url $JOB", "the address of its page, to share"),
            Example(
                "gridd url --image alpine:3.20 -- echo hello", "a link that holds the whole job"
            ),
        ),
        "gridd open": (Example("gridd open $JOB", "its page, in a browser"),),
        "gridd copy": (Example("gridd copy --to other $JOB", "submits it to another queue"),),
        "gridd rerun": (Example("gridd rerun $JOB", "forgets the answer and runs it again"),),
        "gridd cancel": (Example("gridd cancel --message 'not needed' $JOB"),),
        "gridd delete": (Example("gridd delete $JOB", "forgets the job and its answer"),),
    },
    "Queues, files, help": {
        "gridd queue new": (Example("gridd queue new", "a queue's name that nobody can guess"),),
        "gridd upload": (Example("gridd upload folder/numbers.txt", "prints the file's URL"),),
        "gridd worker status": (Example("gridd worker status", "the queue's workers"),),
        "gridd job add": (
            Example(
                "gridd job add $GRIDD_QUEUE -w -m alpine:3.20 -c 'echo hello'",
                "as upstream's `mtpg job add`",
            ),
        ),
        "gridd job await": (
            Example("gridd job await $GRIDD_QUEUE $(gridd submit --image alpine:3.20 -- date)"),
        ),
        "gridd doctor": (
            Example("gridd doctor", "what is wrong here; exit code 1 if anything is"),
        ),
        "gridd worker doctor": (
            Example("gridd worker doctor", "what a worker would miss here; likewise"),
        ),
        "gridd docs": (
            Example("gridd docs", "what /llms.txt of this grid says"),
            Example("gridd docs skill", "what its /skill.md says"),
        ),
        "gridd help": (Example("gridd help run", "the same as `gridd run --help`"),),
    },
    "A grid": {
        "gridd worker run": (
            Example(
                "gridd worker run --api-address $GRIDD_API --cpus 2 $GRIDD_QUEUE",
                "works for a queue, with Docker",
                stays=True,
            ),
        ),
        "gridd mcp": (
            Example("gridd mcp", "tools for a desktop client over stdio, until its input ends"),
        ),
        "gridd serve": (Example("gridd serve", "a server without workers", stays=True),),
        "gridd up": (Example("gridd up", "a server with one worker, queue `local`", stays=True),),
        "gridd journal check": (
            Example("gridd journal check gridd-data/journal", "while no server uses it"),
        ),
        "gridd journal repair": (
            Example("gridd journal repair gridd-data/journal mended", "to a new directory"),
        ),
    },
}

EXAMPLES: Final[_Commands] = {
    command: examples for group in GROUPS.values() for command, examples in group.items()
}


def of(command: str) -> list[Example]:
    """Those of a command such as ``gridd run``; of ``gridd queue``, those of all its actions."""
    return [
        example
        for name, examples in EXAMPLES.items()
        if name == command or name.startswith(f"{command} ")
        for example in examples
    ]


_VARIABLES: Final = {
    "$JOB": "an id, as `gridd submit` prints it",
    "$GRIDD_API": "the grid's URL",
    "$GRIDD_QUEUE": "the queue's name",
}


def help_text(command: str) -> str:
    """The part of ``--help``."""
    found = of(command)
    shown = lines(found, width=0)
    meant = [f"{name}: {words}" for name, words in _VARIABLES.items() if name in shown]
    head = f"examples ({'; '.join(meant)}):" if meant else "examples:"
    return "\n  ".join((head, *shown.splitlines()))


def lines(examples: list[Example], width: int = 60) -> str:
    """One a line, what it does behind a ``#``: at column ``width``, or two blanks further on."""
    rows = (
        f"{one.line.ljust(width)}  # {one.remark}" if one.remark else one.line for one in examples
    )
    return "\n".join(rows)
