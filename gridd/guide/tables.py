"""What several texts say, as tables. Tests compare each with what it is about: a code, a reason or
a member of a definition that is missing here is found."""

from typing import Final

from gridd_protocol import limits

WORDS: Final = {
    "queue": "a named line of jobs. Exists as soon as it is named; shares nothing with other "
    "queues",
    "job": "a definition in a queue. Its id is a hash of the definition",
    "definition": "what the client wrote: image, command, inputs, …",
    "worker": "a process that runs jobs; `gridd-worker` is one",
    "result": "what came of a run: exit code, outputs, log",
    "namespace": "a slot of a queue that holds one live job; a newer job in the same slot replaces "
    "it. The default, `_`, holds any number",
}
"""As docs/glossary.md has them."""

MEMBERS: Final = {
    "image": "container image. Without `image` and `build` the command runs on the worker's own "
    "machine, where its owner allows that",
    "build": "an image to build instead: `dockerfile` (its text) or `context` (URL of a repository "
    "or archive), `buildContext`, `filename`, `target`, `buildArgs` (list of K=V), `platform`",
    "command": "one string, split like a shell's but run without one: `sh -c '…'` for pipes and >",
    "entrypoint": "in place of the image's own",
    "workdir": "where the command starts",
    "env": "variables, name to text",
    "inputs": "files that the job reads in /inputs, name to reference",
    "configFiles": "likewise, but an absolute name is a place in the container",
    "maxDuration": 'longest run, such as `"30m"`',
    "requirements": '`{"cpus": 0.5, "gpus": 1, "memory": "2g", "maxDuration": "2h"}`: only a '
    "worker that has as much takes the job",
    "shmSize": "size of /dev/shm",
    "tags": "list; only a worker with all of them takes the job",
}
"""Members of a definition."""

REFERENCES: Final = (
    '`{"type": "utf8", "value": "text"}`, `base64` and `json` likewise; '
    '`{"type": "key", "value": KEY}` for a file that was uploaded to `/f/KEY`; '
    '`{"type": "url", "value": "https://…"}`'
)

ENDS: Final = {
    "Success": (
        "the program ran to its end; its own exit code is `StatusCode`",
        "a code other than 0 is the program's: read the run log; 137 is mostly too little memory, "
        "127 a command that the image lacks",
    ),
    "Error": (
        "the job could not be run: image, build, inputs, start or outputs; `error` says which",
        "mend the definition; the build log has the words of a pull or build",
    ),
    "TimedOut": (
        "it ran longer than `maxDuration`, or than the worker allows",
        "ask for more time, or do less",
    ),
    "Cancelled": ("somebody cancelled it", "submit it again if that was a mistake"),
    "JobReplacedByClient": (
        "a newer job was submitted in its namespace",
        "use a namespace of your own, or none",
    ),
    "Deleted": ("it was removed from the queue", "submit it again"),
}
"""``finishedReason``: what it means, what to do."""

REFUSALS: Final = {
    "bad-json": "send JSON; in a shell, mind the quotes",
    "bad-request": "mend the member that `field` names",
    "bad-definition": "mend the member that `field` names",
    "bad-queue": "use another name for the queue",
    "bad-name": "mend the name that `field` names; a job's id has 64 hex digits",
    "id-mismatch": "leave `id` out",
    "too-large": "send less than `limit`; upload files to `/f/KEY` and refer to them",
    "hash-mismatch": "the KEY of an upload is the sha256 of its bytes: hash again, send again",
    "not-found": "check queue and id; a job is known in the queue that it was submitted to",
    "gone": "its time is over: submit it again",
    "method-not-allowed": "use a method that the header `Allow` names",
    "foreign-origin": "this grid runs on somebody's own machine: its owner starts it with "
    "--allow-origin, or calls it by its own address",
    "queue-full": "wait, then send again",
    "too-many": "close connections, use a queue that is there",
    "unavailable": "wait, then send again: the same job twice is one job",
    "internal": "tell whoever runs the grid",
}
"""Codes of refusals over HTTP: what to do."""


def _size(count: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << shift:
            return f"{count / (1 << shift):g} {unit}"
    return f"{count} bytes"


def _days(ms: int) -> str:
    return f"{ms / 86_400_000:g} days"


BOUNDS: Final = (
    ("a definition", _size(limits.DEFINITION_BYTES_MAX)),
    ("a submission, with everything around it", _size(limits.SUBMIT_BODY_BYTES_MAX)),
    ("inputs of one job, and as many config files", f"{limits.FILES_PER_JOB_MAX:,}"),
    ("a file at `/f/KEY`", _size(limits.BLOB_BYTES_MAX)),
    (
        "a log: its first tenth and its newest lines are kept",
        f"{limits.LOG_LINES_PER_JOB_MAX:,} lines or {_size(limits.LOG_BYTES_PER_JOB_MAX)}",
    ),
    ("one line of it", _size(limits.LOG_LINE_BYTES_MAX)),
    ("a queue's name", _size(limits.QUEUE_NAME_BYTES_MAX)),
    ("jobs that wait or run in one queue", f"{limits.LIVE_JOBS_PER_QUEUE_MAX:,}"),
    ("times that a job's worker is lost before the job is given up", str(limits.ATTEMPTS_MAX)),
    (
        "a result is kept, unless the grid's owner chose otherwise",
        _days(limits.RETENTION_MS),
    ),
    ("its log likewise", _days(limits.LOG_RETENTION_MS)),
)
"""Those that a submitter meets."""

PROMISES: Final = (
    "**Answered means kept.** A submission that got its 200 is on disk and survives a crash; to "
    "send it again is harmless.",
    "**At least once, and one result counts.** A job whose worker goes silent runs again "
    "elsewhere, so it must not mind that; reports of the lost run change nothing.",
)
