"""``gridd-worker doctor``: looks at everything that a worker needs, and says what to do.

Each check is a function that answers with findings and never raises; they ask the same parts of
the worker that running it would (settings, runtime, addresses), so that what they find is what
would happen. Takes no jobs, removes nothing, and may run beside a running worker.
"""

import asyncio
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from gridd_protocol.messages import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from gridd_protocol.units import format_bytes
from gridd_worker.config import Config, machine_cpus, machine_memory
from gridd_worker.connection import SERVER_FRAME_BYTES_MAX, worker_url
from gridd_worker.health import Disk
from gridd_worker.home import CannotStart, kept_id, own_directory
from gridd_worker.rival import is_connected
from gridd_worker.runtime import Finding, Runtime, RuntimeUnavailable, State

CHECK_MAX_S: Final = 60.0
PULL_MAX_S: Final = 600.0
CLOCK_OFF_S: Final = 5.0  # beyond this, times in logs confuse people
CLOCK_WRONG_S: Final = 300.0  # beyond this, signed links and certificates are refused
_ANSWER_S: Final = 10.0
_NO_SERVER: Final = ("server", "fail")


Findings = list[Finding]


async def examine(config: Config, runtime: Runtime, image: str | None = None) -> Findings:
    """Every check, in the order in which a reader would ask. ``image`` is pulled if it is given."""
    found: Findings = []
    checks: list[tuple[str, Callable[[], Awaitable[Findings]], float]] = [
        ("disk", lambda: _disk(config), CHECK_MAX_S),
        ("machine", lambda: _machine(config), CHECK_MAX_S),
        ("gpu", lambda: _gpu(config), CHECK_MAX_S),
        ("runtime", lambda: _runtime(config, runtime, image), CHECK_MAX_S + PULL_MAX_S),
        ("server", lambda: _server(config), CHECK_MAX_S),
        *(
            (f"queue {queue}", lambda queue=queue: _queue(config, queue), CHECK_MAX_S)
            for queue in config.queues
        ),
    ]
    for name, check, bound_s in checks:
        if name.startswith("queue ") and any((f.check, f.state) == _NO_SERVER for f in found):
            continue  # for the same reason, which would only be said again
        try:
            async with asyncio.timeout(bound_s):
                found += await check()
        except TimeoutError:
            found.append(Finding(name, "fail", f"no answer within {bound_s:.0f} s"))
        except Exception as error:  # a check that fails in its own way must not hide the others
            found.append(Finding(name, "fail", f"{type(error).__name__}: {error}"))
    return found


def told(findings: Findings) -> Iterator[str]:
    """The lines for people."""
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        mark = "FAIL" if finding.state == "fail" else finding.state
        yield f"{mark:<5} {finding.check:<{width}}  {finding.found}"
        if finding.todo:
            yield f"{'':<5} {'':<{width}}  → {finding.todo}"


# --- this machine ---------------------------------------------------------------------------


async def _disk(config: Config) -> Findings:
    data = config.data_directory
    try:
        with own_directory(data):
            kept_id(data)
    except CannotStart as error:
        if "another gridd-worker" not in str(error):
            return [Finding("disk", "fail", str(error), "make it writable, or --data-directory")]
    trouble = await asyncio.to_thread(Disk(data, config.min_free_disk).trouble)
    if trouble is not None:
        todo = "free some space, or choose another place with --data-directory"
        return [Finding("disk", "fail", trouble, todo)]
    free = shutil.disk_usage(data).free
    return [Finding("disk", "ok", f"{data} can be written, {format_bytes(free)} free")]


async def _machine(config: Config) -> Findings:
    cpus, memory = machine_cpus(), machine_memory()
    found = f"{cpus} cpus and {format_bytes(memory)} of memory here; "
    found += f"{config.cpus:g} and {format_bytes(config.memory)} for jobs"
    if config.cpus > cpus or (memory and config.memory > memory):
        todo = "give no more than there is with --cpus and --memory, or jobs will be slow or killed"
        return [Finding("machine", "warn", found, todo)]
    return [Finding("machine", "ok", found)]


async def _gpu(config: Config) -> Findings:
    return gpus(config, Path("/dev"))


def gpus(config: Config, devices: Path) -> Findings:
    """The gpus that jobs are given, against the device files in ``devices``."""
    there = sorted(p.name for p in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name))
    if not config.gpus:
        if there:
            todo = "give them to jobs with --gpus all"
            return [Finding("gpu", "warn", f"{len(there)} gpus are here and none is given", todo)]
        return [Finding("gpu", "ok", "none here, none given to jobs")]
    missing = [g for g in config.gpus if g.isdigit() and f"nvidia{g}" not in there]
    if missing:
        names = ", ".join(missing)
        todo = "load the driver (try nvidia-smi), or name other devices with --gpus device=…"
        return [Finding("gpu", "fail", f"there is no device {names} under {devices}", todo)]
    tools = ("nvidia-container-runtime-hook", "nvidia-container-cli", "nvidia-ctk")
    if config.runtime == "docker" and not any(map(shutil.which, tools)):
        todo = "install the NVIDIA container toolkit and restart Docker"
        return [Finding("gpu", "fail", "Docker can't hand devices to containers here", todo)]
    return [Finding("gpu", "ok", f"devices {', '.join(config.gpus)}")]


# --- what runs jobs -------------------------------------------------------------------------


async def _runtime(config: Config, runtime: Runtime, image: str | None) -> Findings:
    try:
        await runtime.open()
    except RuntimeUnavailable as error:
        return [Finding("runtime", "fail", str(error), _how_to_have(config))]
    try:
        found = [_described(runtime.describe())]
        found += await runtime.examine()
        if image is not None:
            found.append(await _image(runtime, image))
        return found
    finally:
        await runtime.close()


def _how_to_have(config: Config) -> str:
    if config.runtime != "docker":
        return "choose another --runtime"
    if os.environ.get("DOCKER_HOST"):
        return "start the engine, or mend DOCKER_HOST"
    if shutil.which("dockerd") is None:
        return "install a Docker engine (apt-get install docker.io), or use --runtime process"
    return "start it (systemctl start docker), and let this user reach it (group docker)"


def _described(about: str) -> Finding:
    if "NOT isolated" in about:
        todo = "install bubblewrap, or use --runtime docker: jobs can do here what this user can"
        return Finding("runtime", "warn", about, todo)
    if "jobs can reach one another" in about:
        todo = "use Docker's engine, unless you trust who submits"
        return Finding("runtime", "warn", about, todo)
    if "jobs can reach" in about:
        todo = "run it as root, or keep containers from this machine and 169.254.0.0/16 yourself"
        return Finding("runtime", "warn", about, todo)
    if "limited for each process only" in about:
        todo = "run the worker as root where control groups can be written"
        return Finding("runtime", "warn", about, todo)
    return Finding("runtime", "ok", about)


async def _image(runtime: Runtime, image: str) -> Finding:
    began = time.monotonic()
    try:
        problem = await runtime.fetch_image(image)
    except RuntimeUnavailable as error:
        problem = str(error)
    if problem is not None:
        todo = "look at the name, the network, and the registry's login"
        return Finding("image", "fail", f"{image}: {problem}", todo)
    return Finding("image", "ok", f"{image} is here after {time.monotonic() - began:.1f} s")


# --- the grid -------------------------------------------------------------------------------


async def _server(config: Config) -> Findings:
    """Reached over HTTP as inputs and outputs are, and what its clock says."""
    url = f"{config.api_address}/healthz"
    system = config.proxy == "system"
    try:
        before = time.time()
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_ANSWER_S), trust_env=system
            ) as session,
            session.get(url, proxy=None if system else config.proxy) as answer,
        ):
            await answer.content.read(1_000)
        middle = (before + time.time()) / 2
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        problem = getattr(error, "os_error", error)
        found = f"{config.api_address}: {problem or 'no answer'}"
        todo = "look at --api-address, the network, and whether a --proxy is needed"
        return [Finding("server", "fail", found, todo)]
    state: State = "ok" if answer.status < 500 else "warn"
    todo = "" if state == "ok" else "the server has trouble of its own; ask who runs it"
    found = f"{config.api_address} answers ({answer.status})"
    return [Finding("server", state, found, todo), clock(answer.headers.get("Date"), middle)]


def clock(date: str | None, now_s: float) -> Finding:
    """The ``Date`` of a server against our clock at that moment."""
    try:
        there = parsedate_to_datetime(date or "").timestamp() + 0.5  # whole seconds, cut off
    except ValueError:
        return Finding("clock", "warn", "not compared: the server does not tell the time")
    off_s = now_s - there
    way = "ahead of" if off_s > 0 else "behind"
    if abs(off_s) <= CLOCK_OFF_S:
        return Finding("clock", "ok", "agrees with the server's")
    state: State = "fail" if abs(off_s) > CLOCK_WRONG_S else "warn"
    todo = "set it by the network (timedatectl set-ntp true)"
    return Finding("clock", state, f"{abs(off_s):.0f} s {way} the server's", todo)


async def _queue(config: Config, queue: str) -> Findings:
    """Opens the worker's socket and says nothing on it."""
    name = f"queue {queue}"
    try:
        async with connect(
            worker_url(config.api_address, queue),
            subprotocols=[Subprotocol(SUBPROTOCOL_MSGPACK), Subprotocol(SUBPROTOCOL_JSON)],
            proxy=True if config.proxy == "system" else config.proxy,
            open_timeout=_ANSWER_S,
            close_timeout=2,
            max_size=SERVER_FRAME_BYTES_MAX,
        ) as socket:
            tongue = socket.subprotocol
    except InvalidStatus as error:
        status = error.response.status_code
        todo = "look at the queue's name, and whether the address is that of a grid"
        return [Finding(name, "fail", f"the server refuses a worker ({status})", todo)]
    except (OSError, EOFError, WebSocketException, ImportError) as error:
        todo = "a proxy or firewall that does not pass WebSockets would do this"
        return [Finding(name, "fail", f"no socket: {error or type(error).__name__}", todo)]
    spoken = f"a gridd server ({tongue})" if tongue else "a server that speaks upstream's protocol"
    found = [Finding(name, "ok", f"can be served: {spoken}")]
    worker = config.id or _id_of(config.data_directory)
    if worker and await is_connected(config.api_address, queue, worker, config.proxy):
        here = f"a worker with this one's id ({worker}) is connected to it now"
        found.append(Finding(name, "warn", here, "fine if it is the one that runs here"))
    return found


def _id_of(data: Path) -> str | None:
    try:
        return kept_id(data)
    except CannotStart:
        return None


def as_json(findings: Findings) -> list[dict[str, Any]]:
    return [
        {"check": f.check, "state": f.state, "found": f.found, "todo": f.todo} for f in findings
    ]
