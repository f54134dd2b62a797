"""The limit: the frames of a job passed on by a server that does nothing else.

For a submission frame it sends a frame as long as a push to the worker; for what the worker
answers (started and finished in one frame) it sends the client three frames as long as the three
updates of a job, and the worker one as long as an acknowledgement. All frames of a turn leave in
one write, as in gridd: same frames, same sizes, same processes, no hashing, no engine, no journal.

``echo.py server`` prints its URL; ``echo.py worker URL`` is the null worker's stand-in.
"""

import asyncio
import json
import sys
from typing import cast

import aiohttp
import uvloop
from aiohttp import web

from gridd.edge.frames import binary_frame, text_frame
from gridd.edge.outbox import Outbox

_UPDATE_PADDING = "x" * 110  # an update is about 330 bytes


class Relay:
    def __init__(self) -> None:
        self.client: Outbox | None = None
        self.worker: Outbox | None = None

    async def on_client(self, request: web.Request) -> web.WebSocketResponse:
        ws, self.client = await _open(request)
        async for message in ws:
            if self.worker is not None:
                self.worker.push(binary_frame(message.data.encode()))
        return ws

    async def on_worker(self, request: web.Request) -> web.WebSocketResponse:
        ws, self.worker = await _open(request)
        async for message in ws:
            for job in json.loads(message.data):
                self._finish(job)
            self.worker.push(text_frame(b"a" * 100))
        return ws

    def _finish(self, job: str) -> None:
        if self.client is None:
            return
        for state in ("Queued", "Running", "Finished"):
            self.client.push(
                text_frame(
                    b'{"type":"JobStateUpdates","payload":{"state":{"jobs":{"%s":{"state":"%s",'
                    b'"padding":"%s"}}},"isSubset":true}}'
                    % (job.encode(), state.encode(), _UPDATE_PADDING.encode())
                )
            )


async def _open(request: web.Request) -> tuple[web.WebSocketResponse, Outbox]:
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    return ws, Outbox(cast(asyncio.WriteTransport, request.transport))


async def serve() -> None:
    relay = Relay()
    app = web.Application()
    app.router.add_get("/q/{queue}/client", relay.on_client)
    app.router.add_get("/worker", relay.on_worker)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


async def work(url: str) -> None:
    from gridd_protocol import job_id

    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/worker") as ws:
        print("connected", flush=True)
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                continue  # as long as an acknowledgement, and as little to be done about it
            definition = json.loads(message.data)["payload"]["value"]["enqueued"]["definition"]
            await ws.send_str(json.dumps([job_id(definition)]))


if __name__ == "__main__":
    uvloop.run(serve() if sys.argv[1] == "server" else work(sys.argv[2]))
