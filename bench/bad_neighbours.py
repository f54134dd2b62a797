"""Peers that nobody wants beside him. ``neighbours.py`` runs each in a process of its own:
``bad_neighbours.py NAME URL SECONDS SCALE`` prints a line when it begins, one when it has done its
worst, and what became of it. ``SCALE`` multiplies their numbers. They are polite in one thing
alone: they leave the processor to the others (nice), since in life they would sit on another
machine.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import uvloop
from client import QUEUE, submission
from raw_socket import RawSocket

from gridd_protocol import job_id
from gridd_protocol.limits import FRAME_BYTES_MAX
from gridd_protocol.messages import SUBPROTOCOL_JSON

DEAF = 20
DEAF_BYTES_PER_S = 10_000_000
IDLE = 2_000
FLOOD_JOBS = 50_000
LOG_BYTES = 100_000_000
DRIPPING = 100
DRIP_S = 0.01  # from byte to byte

_OPENING = 50  # handshakes under way at one time
_LINES = 1_000
_LINE = "x" * 99 + "\n"
_SPARE_FILES = 200


@dataclass
class Street:
    """Where a neighbour moves in, and for how long."""

    url: str
    seconds: float
    scale: float

    def some(self, number: int) -> int:
        return max(round(number * self.scale), 1)

    @property
    def over(self) -> Callable[[], bool]:
        end = time.monotonic() + self.seconds
        return lambda: time.monotonic() >= end

    def done(self) -> None:
        """What follows is looking, and no burden to anybody."""
        print("over", flush=True)

    async def get(self, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return await response.text()


async def nobody(street: Street) -> str:
    """Nothing at all: what the machine itself does to the figures."""
    await asyncio.sleep(street.seconds)
    street.done()
    return "-"


async def deaf(street: Street) -> str:
    """Clients that never read, while a job on their queue logs."""
    number = street.some(DEAF)
    readers = [await RawSocket.open(street.url, "/q/deaf/client") for _ in range(number)]
    over, sent = street.over, 0
    async with _logging_job(street, "deaf") as log:
        while not over():
            sent += await log()
            await asyncio.sleep(_LINES * len(_LINE) / DEAF_BYTES_PER_S)
        street.done()
    page = await street.get("/metrics")
    cut = re.search(r'gridd_outbox_cut_offs_total\{kind="client"\} (\d+)', page)
    ends = Counter(await asyncio.gather(*(reader.end(1) for reader in readers)))
    taken = sum(reader.bytes_read for reader in readers) // number
    return (
        f"{number} sockets, {sent >> 20} MiB for each, of which {taken >> 10} KiB arrived, the "
        f"rest left out: {_counted(ends)}; cut off meanwhile (4002): {cut[1] if cut else '?'}"
    )


async def idle_on_many(street: Street) -> str:
    return await _idle(street, lambda number: f"idle-{number}")


async def idle_on_one(street: Street) -> str:
    return await _idle(street, lambda _: "idle")


async def _idle(street: Street, queue: Callable[[int], str]) -> str:
    """Sockets that open in a rush and then do nothing."""
    wanted = street.some(IDLE)
    number = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)
    less = f" (of {wanted}: no more files may be open here)" if number < wanted else ""
    began = time.monotonic()
    door = asyncio.Semaphore(_OPENING)

    async def come(name: str) -> RawSocket | str:
        async with door:
            try:
                return await RawSocket.open(street.url, f"/q/{name}/client")
            except (OSError, asyncio.IncompleteReadError) as error:
                return f"refused ({error})"

    came = await asyncio.gather(*(come(queue(n)) for n in range(number)))
    took = time.monotonic() - began
    await asyncio.sleep(street.seconds - took)
    street.done()
    sockets = [one for one in came if isinstance(one, RawSocket)]
    ends = Counter(await asyncio.gather(*(one.end(0.5) for one in sockets)))
    ends.update(one for one in came if isinstance(one, str))
    return f"{number} sockets{less}, all there after {took:.1f} s: {_counted(ends)}"


async def flood(street: Street) -> str:
    """A client that submits as fast as it is read, and never reads."""
    socket = await RawSocket.open(street.url, "/q/flood/client")
    frames = [submission(n, "flood")[1].encode() for n in range(street.some(FLOOD_JOBS))]
    over, began, sent = street.over, time.monotonic(), 0
    with contextlib.suppress(ConnectionError):
        for frame in frames:
            await socket.send(frame)
            sent += 1
            if over():
                break
    took = time.monotonic() - began
    street.done()
    end = await socket.end(2)
    queued = re.search(r"^queue_length (\d+)", await street.get("/q/flood/metrics"), re.M)
    return (
        f"{sent} submissions sent in {took:.1f} s, {queued[1] if queued else '?'} "
        f"wait on the server; {end} "
        f"(with {socket.bytes_read >> 10} KiB of answers)"
    )


async def loud(street: Street) -> str:
    return await _loud(street, "loud")


async def loud_beside(street: Street) -> str:
    return await _loud(street, QUEUE)


async def _loud(street: Street, queue: str) -> str:
    """A job that logs without end, on ``queue``."""
    wanted, sent = street.some(LOG_BYTES), 0
    began = time.monotonic()
    async with _logging_job(street, queue) as log:
        while sent < wanted:
            sent += await log()
    took = time.monotonic() - began
    street.done()
    return f"{sent / 1e6:.0f} MB in {took:.1f} s; kept: {await _kept(street, queue)}"


async def _kept(street: Street, queue: str) -> str:
    """Of the loud job's log."""
    parts, cursor = [], 0
    while True:
        path = f"/q/{queue}/j/{_loud_job()[0]}/run-logs.json?since={cursor}"
        page = json.loads(await street.get(path))
        if not page["data"]:
            break
        first, cursor = page["sliceStart"], page["nextCursor"]
        size = sum(len(line[0]) for line in page["data"])
        parts.append(f"lines {first} to {first + len(page['data'])} ({size >> 10} KiB)")
    return f"{', '.join(parts)} of {cursor}"


def _loud_job() -> tuple[str, str]:
    """A job that only the hand-made worker below takes."""
    definition = {"image": "busybox:latest", "command": "yes", "tags": ["loud"]}
    value = {"enqueued": {"definition": definition}}
    change = {"tag": "", "state": "Queued", "job": "", "value": value}
    return job_id(definition), json.dumps({"type": "StateChange", "payload": change})


@contextlib.asynccontextmanager
async def _logging_job(street: Street, queue: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A job under way, and what logs a thousand lines of it: bytes of text, once they are sent."""
    job, frame = _loud_job()
    lease = {"job": job, "attempt": 1}
    lines = json.dumps([[_LINE, int(time.time() * 1000)]] * _LINES)
    numbers = itertools.count()
    hello = {"type": "hello", "worker": "loud", "credit": 1, "resources": {"tags": ["loud"]}}
    client = await RawSocket.open(street.url, f"/q/{queue}/client")
    await client.send(frame.encode())
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{street.url}/q/{queue}/worker", protocols=(SUBPROTOCOL_JSON,), max_msg_size=0
        ) as ws,
    ):
        await ws.send_json([hello])
        while '"push"' not in await ws.receive_str():
            pass
        client.close()

        async def log() -> int:
            message = {"type": "log", **lease, "step": "Running", "cursor": next(numbers) * _LINES}
            await ws.send_str(f'[{json.dumps(message)[:-1]}, "lines": {lines}}}]')
            return _LINES * len(_LINE)

        yield log
        ended = {"type": "finished", **lease, "reason": "Success", "result": "{}"}
        await ws.send_json([{"type": "credit", "jobs": 0}, ended])  # else others' jobs come next
        while '"acknowledged"' not in await ws.receive_str():
            pass


async def drip(street: Street) -> str:
    """Requests whose bodies come a byte at a time, again and again."""
    over = street.over
    ends: Counter[str] = Counter()

    async def one(number: int) -> None:
        for again in itertools.count():
            if over():
                break
            ends[await _dripped(street, f"{number} {again}", over)] += 1

    number = street.some(DRIPPING)
    await asyncio.gather(*(one(n) for n in range(number)))
    street.done()
    return f"{number} at once, a byte each {DRIP_S * 1000:.0f} ms: {_counted(ends)}"


async def _dripped(street: Street, command: str, over: Callable[[], bool]) -> str:
    host, _, port = street.url.removeprefix("http://").partition(":")
    body = json.dumps({"definition": {"image": "a", "command": command}}).encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /q/drip/j HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
    )
    try:
        for byte in body:
            if over():
                return "unfinished"
            writer.write(bytes((byte,)))
            await asyncio.sleep(DRIP_S)
        return (await reader.readline()).split(b" ", 1)[-1].decode().strip()
    except ConnectionError:
        return "cut off"
    finally:
        writer.transport.abort()


async def nonsense(street: Street) -> str:
    """A worker whose frames are as large as may be, and wrong; it comes back at once."""
    frames = [frame.encode().ljust(FRAME_BYTES_MAX) for frame in _wrong_frames()]
    over = street.over
    ends: Counter[str] = Counter()
    for frame in itertools.cycle(frames):
        if over():
            break
        socket = await RawSocket.open(street.url, "/q/nonsense/worker", SUBPROTOCOL_JSON)
        with contextlib.suppress(ConnectionError):
            await socket.send(frame)
        ends[await socket.end(1)] += 1
        socket.close()
    street.done()
    return f"{ends.total()} frames of {FRAME_BYTES_MAX >> 20} MiB: {_counted(ends)}"


def _wrong_frames() -> list[str]:
    """As JSON; each is filled up with blanks."""
    unknown = json.dumps({"type": "nope", "padding": "x" * 8_000})
    lines = '["",1],' * ((FRAME_BYTES_MAX - 1_000) // 7)
    log = {"type": "log", "job": "0" * 64, "attempt": 1, "step": "Running", "cursor": 0}
    hello = json.dumps({"type": "hello", "worker": "w"})
    return [
        "x" * FRAME_BYTES_MAX,
        "[" * FRAME_BYTES_MAX,
        "[" + "{}," * (FRAME_BYTES_MAX // 3 - 1) + "{}]",
        "[" + ",".join([unknown] * 1_000) + "]",
        f'[{hello}, {json.dumps(log)[:-1]}, "lines": [{lines[:-1]}]}}]',
        f'[{hello[:-1]}, "credit": "\\ud800{"x" * (FRAME_BYTES_MAX - 1_000)}"}}]',
    ]


def _counted(ends: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in ends.most_common())


NEIGHBOURS: dict[str, Callable[[Street], Awaitable[str]]] = {
    "nobody": nobody,
    "deaf": deaf,
    "idle-many": idle_on_many,
    "idle-one": idle_on_one,
    "flood": flood,
    "loud": loud,
    "loud-beside": loud_beside,
    "drip": drip,
    "nonsense": nonsense,
}


def main() -> None:
    name, url, seconds, scale = sys.argv[1:]
    os.nice(19)
    print("begins", flush=True)
    print(uvloop.run(NEIGHBOURS[name](Street(url, float(seconds), float(scale)))))


if __name__ == "__main__":
    main()
