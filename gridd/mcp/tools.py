"""The tools: upstream's six, with their names, parameters and result members (WIRE 1.14, BROWSER
5.1), and ``explain_job``. They know the grid only by its face, and nothing of the SDK.

A tool answers with a JSON object, or raises ``ToolError`` (or what its face raises). Answers are
bounded: a caller that is a language model pays for each word.
"""

import asyncio
import base64
import binascii
import hashlib
import mimetypes
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from gridd.mcp import arguments as a
from gridd.mcp.face import Ended, Face, JsonObject, Lines, Links, ToolError
from gridd_protocol.names import check_job_id, check_namespace, check_queue_name

LOG_LINES_MAX: Final = 1_000
"""Lines in one answer: the last ones, with a note about the others."""
LOG_CHARACTERS_MAX: Final = 200_000
INLINE_CHARACTERS_MAX: Final = 10_000
"""Of an output that stands in an answer; a longer one is named by its address."""
PROGRESS_CHARACTERS_MAX: Final = 4_000

Report = Callable[[int, str], Awaitable[None]]
"""Tells the caller how many lines there are so far, and the new ones."""

_STATUS_MEMBERS = ("state", "worker", "finishedReason", "time", "queuedTime")
_SHARE = "Show the user this link so they can"


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    arguments: type[a.Arguments]
    run: Callable[[Face, Any, Report | None], Awaitable[JsonObject]]

    async def __call__(self, face: Face, given: JsonObject, report: Report | None) -> JsonObject:
        return await self.run(face, a.read(given, self.arguments), report)


# --- submitting ------------------------------------------------------------------------


async def _submit_job(face: Face, given: a.SubmitJob, _: Report | None) -> JsonObject:
    queue = _queue(face, given.queue)
    definition = _definition(given)
    job = await face.submit(queue, definition, given.namespace)
    links = Links(face.origin, queue)
    page, whole = links.page(job), links.self_contained(definition)
    return {
        "success": True,
        "jobId": job,
        "queue": queue,
        "viewUrl": page,
        **({"selfContainedUrl": whole} if whole else {}),
        "resultUrl": links.result(job),
        "definition": {
            **({"image": given.image} if given.image else {}),
            "hasDockerfile": bool(given.dockerfile),
            "hasBuild": "build" in definition,
            "command": given.command,
            "filesCount": len(given.inputs),
            "envCount": len(given.env),
            "maxDuration": given.max_duration,
        },
        "namespace": given.namespace,
        "message": f"Job {job} was submitted to queue {queue!r}",
        "shareWithUser": f"{_SHARE} watch the job and see its outputs: {page}",
        "nextStep": "follow_job shows its log until it ends; get_job_status looks once; "
        "explain_job says why it waits",
    }


def _definition(given: a.SubmitJob) -> JsonObject:
    definition: JsonObject = {
        "command": given.command,
        "inputs": {name: _input(value) for name, value in given.inputs.items()},
        "env": dict(given.env),
        "maxDuration": given.max_duration,
    }
    if given.image and (given.git_repo or given.dockerfile):
        raise ToolError("image: give an image, or gitRepo or dockerfile to build one; not both")
    if given.build_context and not given.git_repo:
        raise ToolError("buildContext: it is a folder of gitRepo, which is not given")
    if given.image:
        return {**definition, "image": given.image}
    build = {
        "context": given.git_repo,
        "buildContext": given.build_context,
        "dockerfile": given.dockerfile,
    }
    build = {name: value for name, value in build.items() if value}
    if not build:
        raise ToolError("image: give one of image, gitRepo and dockerfile")
    return {**definition, "build": build}


def _input(value: "str | a.Reference") -> JsonObject:
    if isinstance(value, str):
        return {"value": value, "type": "utf8"}
    reference: JsonObject = {"value": value.value, "type": value.type}
    return reference if value.hash is None else {**reference, "hash": value.hash}


async def _upload_file(face: Face, given: a.UploadFile, _: Report | None) -> JsonObject:
    """The key is the hash of the bytes: sent twice, a file is there once, and a job that names
    it has the same id wherever it is submitted."""
    data = _bytes(given)
    key = hashlib.sha256(data).hexdigest()
    await face.upload(key, data)
    guessed = mimetypes.guess_type(given.filename)[0] or "application/octet-stream"
    return {
        "success": True,
        "filename": given.filename,
        "key": key,
        "contentType": given.content_type or guessed,
        "encoding": given.encoding,
        "size": len(data),
        "downloadUrl": Links(face.origin, "").file(key),
        "reference": {"type": "key", "value": key},
        "message": f"{given.filename} was uploaded; give `reference` as one of submit_job's inputs",
    }


def _bytes(given: a.UploadFile) -> bytes:
    try:
        if given.encoding == "text":
            return given.content.encode()
        return base64.b64decode("".join(given.content.split()), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise ToolError(f"content: it is not {given.encoding} as encoding says") from None


# --- looking ---------------------------------------------------------------------------


async def _get_job_status(face: Face, given: a.GetJobStatus, _: Report | None) -> JsonObject:
    queue, job = _queue(face, given.queue), check_job_id(given.job_id, "jobId")
    view = await face.job(queue, job)
    finished = await face.finished(queue, job) if given.include_result and view else None
    page = Links(face.origin, queue).page(job)
    status = _members(view or {}, _STATUS_MEMBERS)
    return {
        "success": True,
        "jobId": job,
        "viewUrl": page,
        "shareWithUser": f"{_SHARE} see the job themselves: {page}",
        "status": status,
        "result": _result(face, queue, job, finished) if finished else None,
        **({} if view else {"note": f"queue {queue!r} knows no such job"}),
    }


def _result(face: Face, queue: str, job: str, finished: JsonObject) -> JsonObject:
    result = _result_of(finished)
    logs = result.get("logs") or []
    shown = {
        "outputs": _outputs(f"{face.origin}/q/{quote(queue, safe='')}/j/{job}/outputs", result),
        "logs": logs[-LOG_LINES_MAX:],
        "statusCode": result.get("StatusCode"),
        "duration": result.get("duration"),
        "isTimedOut": result.get("isTimedOut"),
        "error": result.get("error"),
        "logLinesOmitted": max(0, len(logs) - LOG_LINES_MAX) or None,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _outputs(address: str, result: JsonObject) -> JsonObject:
    outputs: JsonObject = {}
    for name, reference in (result.get("outputs") or {}).items():
        value = reference.get("value") if isinstance(reference, dict) else None
        if isinstance(value, str) and len(value) > INLINE_CHARACTERS_MAX:
            reference = {"type": "url", "value": f"{address}/{quote(name)}"}
        outputs[name] = reference
    return outputs


async def _list_jobs(face: Face, given: a.ListJobs, _: Report | None) -> JsonObject:
    queue = _queue(face, given.queue)
    jobs = await face.jobs(queue)
    matching = [
        {"jobId": job, **_members(view, (*_STATUS_MEMBERS, "namespaces"))}
        for job, view in jobs.items()
        if given.state in (None, view.get("state"))
    ]
    matching.sort(key=lambda job: int(job.get("queuedTime") or 0), reverse=True)
    state = {"state": given.state} if given.state else {}
    return {
        "success": True,
        "queue": queue,
        "totalJobs": len(jobs),
        "totalMatchingJobs": len(matching),
        "filters": {**state, "limit": given.limit},
        "jobs": matching[: given.limit],
    }


async def _explain_job(face: Face, given: a.ExplainJob, _: Report | None) -> JsonObject:
    queue, job = _queue(face, given.queue), check_job_id(given.job_id, "jobId")
    explanation = await face.explain(queue, job)
    if explanation is None:
        raise _unknown(queue, job)
    page = Links(face.origin, queue).page(job)
    return {"success": True, "jobId": job, "queue": queue, "viewUrl": page, **explanation}


# --- cancelling ------------------------------------------------------------------------


async def _cancel_job(face: Face, given: a.CancelJob, _: Report | None) -> JsonObject:
    queue, job = _queue(face, given.queue), check_job_id(given.job_id, "jobId")
    if given.namespace != "*":
        check_namespace(given.namespace, "namespace")
    was = await face.cancel(queue, job, given.namespace)
    words = {
        "cancelled": f"Job {job} was cancelled in queue {queue!r}",
        "ended": f"Job {job} had ended already: there was nothing to cancel",
        "not held": f"That namespace does not hold job {job}: nothing was cancelled",
        "unknown": f"Queue {queue!r} knows no job {job}: there was nothing to cancel",
    }
    return {"success": True, "jobId": job, "queue": queue, "message": words[was]}


# --- following -------------------------------------------------------------------------


async def _follow_job(face: Face, given: a.FollowJob, report: Report | None) -> JsonObject:
    queue, job = check_queue_name(given.queue), check_job_id(given.job_id, "jobId")
    if await face.job(queue, job) is None:
        raise _unknown(queue, job)
    log = _Log(report, with_build=given.include_build_logs)
    note = ""
    try:
        async with asyncio.timeout(given.timeout_seconds):
            if not await _follow(face.follow(queue, job), log):
                note = "the grid stopped telling before the job ended; call follow_job again"
    except TimeoutError:
        note = f"it has not ended within {given.timeout_seconds:g} s; call follow_job again"
    view = await face.job(queue, job) or {}
    finished = await face.finished(queue, job)
    links = Links(face.origin, queue)
    return {
        "jobId": job,
        "queue": queue,
        "viewUrl": links.page(job),
        "resultUrl": links.result(job),
        "state": view.get("state"),
        "finishedReason": view.get("finishedReason"),
        **_ending(view, _result_of(finished) if finished else {}),
        "streamedLive": report is not None,
        "logLineCount": log.count,
        "logs": list(log.kept),
        **({"note": notes} if (notes := "; ".join(filter(None, (note, log.note)))) else {}),
    }


async def _follow(story: Any, log: "_Log") -> bool:
    """True when the job's end was seen."""
    async with aclosing(story) as steps:
        async for step in steps:
            if isinstance(step, Ended):
                return True
            await log.add(step)
    return False


def _ending(view: JsonObject, result: JsonObject) -> JsonObject:
    code = result.get("StatusCode")
    error = result.get("error")
    return {
        "exitCode": code,
        "programSucceeded": view.get("finishedReason") == "Success" and code == 0,
        "durationMs": result.get("duration"),
        "outputFiles": sorted(result.get("outputs") or {}),
        **({"error": error} if error else {}),
    }


class _Log:
    """The last lines of a job's log, and their count; reports each as it comes."""

    def __init__(self, report: Report | None, *, with_build: bool) -> None:
        self.kept: deque[str] = deque()
        self.count = 0
        self._characters = 0
        self._report = report
        self._with_build = with_build

    async def add(self, step: Lines) -> None:
        if step.kind == "build" and not self._with_build:
            return
        prefix = "[build] " if step.kind == "build" else ""
        new = [prefix + line.text.rstrip("\r\n") for line in step.lines]
        if step.restarted:
            self._keep("[the job runs again: its worker was lost]")
        for text in new:
            self._keep(text)
        if self._report is not None and new:
            await self._report(self.count, "\n".join(new)[-PROGRESS_CHARACTERS_MAX:])

    def _keep(self, text: str) -> None:
        self.count += 1
        text = text[:LOG_CHARACTERS_MAX]
        self.kept.append(text)
        self._characters += len(text)
        while len(self.kept) > LOG_LINES_MAX or self._characters > LOG_CHARACTERS_MAX:
            self._characters -= len(self.kept.popleft())

    @property
    def note(self) -> str:
        left_out = self.count - len(self.kept)
        return f"the first {left_out} lines of the log are left out" if left_out else ""


# --- what they share -------------------------------------------------------------------


def _queue(face: Face, given: str) -> str:
    return check_queue_name(given or face.default_queue)


def _unknown(queue: str, job: str) -> ToolError:
    return ToolError(f"jobId: queue {queue!r} knows no job {job}; check both")


def _members(view: JsonObject, names: tuple[str, ...]) -> JsonObject:
    return {name: view[name] for name in names if view.get(name) is not None}


def _result_of(finished: JsonObject) -> JsonObject:
    """A worker wrote it, and one of them may write nonsense."""
    outcome = finished.get("finished")
    result = outcome.get("result") if isinstance(outcome, dict) else None
    return result if isinstance(result, dict) else {}


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            "submit_job",
            "Submit a container job to a queue: an image, a git repository or a Dockerfile, a "
            "command, and input files. Answers with the job's id and links as soon as it is kept. "
            "A job with an equal definition has the same id, and its stored answer is used again.",
            a.SubmitJob,
            _submit_job,
        ),
        Tool(
            "follow_job",
            "Wait until a job ends, with its log on the way (as progress, for callers that ask "
            "for it), and answer with exit code, output files and the end of the log.",
            a.FollowJob,
            _follow_job,
        ),
        Tool(
            "get_job_status",
            "Look once at a job: its state, its worker, and its result if it has ended.",
            a.GetJobStatus,
            _get_job_status,
        ),
        Tool(
            "list_jobs",
            "List a queue's jobs, newest first: those that wait or run, and those that ended "
            "within the last minute.",
            a.ListJobs,
            _list_jobs,
        ),
        Tool(
            "cancel_job",
            "Cancel a job, or let one namespace let go of it.",
            a.CancelJob,
            _cancel_job,
        ),
        Tool(
            "upload_file",
            "Upload a file, for use as an input of jobs. Answers with its key, its address and "
            "the reference to give to submit_job.",
            a.UploadFile,
            _upload_file,
        ),
        Tool(
            "explain_job",
            "Say why a job waits: its place in the line, what it asks for, and what each "
            "connected worker lacks for it.",
            a.ExplainJob,
            _explain_job,
        ),
    )
}
