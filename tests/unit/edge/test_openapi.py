"""The description at ``/openapi.json`` says what ``app`` serves: each route, and each status."""

import hashlib
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from gridd.blobs.base import Blob
from gridd.edge import page
from gridd.edge.openapi import Operation, description, operations
from gridd.errors import BlobError
from gridd.grid import Grid
from gridd.mcp.routes import CALLS_MAX
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import SUBMIT_BODY_BYTES_MAX

BYTES = b"some bytes"
KEY = hashlib.sha256(BYTES).hexdigest()
FILE = {"type": "key", "value": KEY}
DEFINITION = {"image": "a", "inputs": {"in.txt": FILE}}
UNKNOWN = "0" * 64
BAD = {"queue": "%ff", "job": "zz", "key": ".x", "document": "zz.json", "namespace": "%ff"}


def documented() -> list[Any]:
    described = description()["paths"]
    return [
        pytest.param(operation, int(status), id=f"{operation.method} {operation.path} {status}")
        for operation in operations()
        for status in described[operation.path][operation.method]["responses"]
    ]


async def test_it_covers_exactly_the_routes_of_the_app(server: Any) -> None:
    served = set()
    for route in server.app.router.routes():
        canonical = route.resource.canonical
        handler = getattr(route.handler, "__wrapped__", route.handler)
        is_socket = type(getattr(handler, "__self__", None)).__name__ == "EchoSockets"
        is_page_asset = isinstance(route.resource, web.StaticResource)
        if route.method != "HEAD" and not is_socket and not is_page_asset:
            served.add((route.method.lower(), canonical))
    listed = [(operation.method, operation.path) for operation in operations()]
    assert sorted(listed) == sorted(served)


async def test_it_is_served_and_whole(server: Any) -> None:
    answer = await server("GET", "/openapi.json")
    assert (answer.status, answer.content_type) == (200, "application/json")
    served = await answer.json()
    assert served["openapi"].startswith("3.1")
    components = served["components"]
    text = json.dumps(served)
    for kind, names in components.items():
        for name in names:
            assert f'"#/components/{kind}/{name}"' in text, f"{kind}/{name} is used by nothing"
    for word in text.split('"#/components/')[1:]:
        kind, name = word.split('"')[0].split("/")
        assert name in components[kind], f"{kind}/{name} is not there"


@pytest.mark.parametrize(("operation", "status"), documented())
async def test_each_documented_status_can_be_had(
    operation: Operation, status: int, start: Callable[..., Awaitable[Any]]
) -> None:
    server = await start(open_to_all=status != 403)
    case = Case(server, operation)
    await case.prepare(status)
    answer = await server(operation.method.upper(), case.path, headers=case.headers, **case.body)
    assert answer.status == status, await answer.text()
    content = description()["paths"][operation.path][operation.method]["responses"][str(status)]
    content_types = content["content"]
    assert "*/*" in content_types or not content_types or answer.content_type in content_types


class Case:
    """A request to ``operation`` that is well, until ``prepare`` makes it end with a status."""

    def __init__(self, server: Any, operation: Operation) -> None:
        self.server = server
        self.operation = operation
        outputs = {"outputs": {"in.txt": FILE}}
        self.job = server.grid.put(DEFINITION, result=outputs)
        document = self.job + ".json"
        self.names = {"queue": "q1", "job": self.job, "document": document, "key": KEY}
        self.names |= {"name": "in.txt", "namespace": "_"}
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        if operation.body is not None:
            self.send({"definition": DEFINITION, "queue": "q2"})
        if operation.path == "/mcp":
            self.headers["Content-Type"] = "application/json"
            self.send({"jsonrpc": "2.0", "id": 1, "method": "ping"})

    @property
    def path(self) -> str:
        path = self.operation.path
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    def send(self, body: Any) -> None:
        raw = BYTES if self.operation.method == "put" else json.dumps(body).encode()
        self.body = {"data": raw}

    def fail(self, error: ProtocolError) -> None:
        """Whatever the grid or the blob store is asked for."""

        async def refuse(*_: object, **__: object) -> Any:
            raise error

        for name in vars(Grid):
            if not name.startswith("_"):
                setattr(self.server.grid, name, refuse)
        if error.code is ErrorCode.UNAVAILABLE:
            self.server.blobs.put = self.server.blobs.open = self.server.blobs.exists = broken
            self.server.grid.trouble = "the disk is full"

    async def prepare(self, status: int) -> None:
        await self.server.blobs.put(KEY, one_chunk(), len(BYTES))
        await self.server.grid.changes.put(None)  # an event stream ends
        if self.operation.path.endswith(".js") and status == 200:
            file = page.WEB_FOLDER / "dist" / self.operation.path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("1")
        ready = getattr(self, f"_for_{status}", None)
        if ready is not None:
            ready()
        else:
            assert status == 200

    @property
    def tools(self) -> Any:
        routes = self.server.app.router.routes()
        handlers = {route.resource.canonical: route.handler for route in routes}
        return handlers["/mcp"].__self__

    def _for_202(self) -> None:
        if self.operation.path == "/mcp":
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.names["job"] = self.server.grid.put({"image": "waits"})

    def _for_206(self) -> None:
        self.headers["Range"] = "bytes=0-0"

    def _for_301(self) -> None:
        """Always."""

    def _for_302(self) -> None:
        async def elsewhere(key: str, headers: object) -> Blob:
            return Blob(1, key, location="http://blobs.example/x")

        self.server.blobs.open = elsewhere

    def _for_304(self) -> None:
        self.headers["If-None-Match"] = f'"{KEY}"'

    def _for_400(self) -> None:
        in_path = [part[1:-1] for part in self.operation.path.split("/") if part.startswith("{")]
        if in_path:
            self.names[in_path[0]] = BAD[in_path[0]]
        else:
            self.headers["X-Long"] = "a" * 9_000

    def _for_403(self) -> None:
        self.headers["Origin"] = "http://elsewhere.example"

    def _for_404(self) -> None:
        self.headers["X-Forwarded-For"] = "203.0.113.7"  # not one for the operator's page
        self.names |= {"job": UNKNOWN, "document": f"{UNKNOWN}.json", "key": UNKNOWN}

    def _for_406(self) -> None:
        self.headers["Accept"] = "text/html"

    def _for_409(self) -> None:
        self.send({"definition": DEFINITION, "id": UNKNOWN})

    def _for_410(self) -> None:
        self.fail(ProtocolError(ErrorCode.GONE, "forgotten in this moment"))

    def _for_413(self) -> None:
        too_much = SUBMIT_BODY_BYTES_MAX if self.operation.path.startswith("/q") else 4 << 20
        self.body = {"data": io.BytesIO(bytes(too_much + 1))}

    def _for_416(self) -> None:
        self.headers["Range"] = "bytes=999-"

    def _for_422(self) -> None:
        self.names["key"] = UNKNOWN

    def _for_429(self) -> None:
        async def full(*_: object) -> Any:
            raise ProtocolError(ErrorCode.QUEUE_FULL, "full")

        self.server.grid.submit = full

    def _for_501(self) -> None:
        self.tools.installed = False

    def _for_503(self) -> None:
        self.tools.calls = CALLS_MAX
        self.fail(ProtocolError(ErrorCode.UNAVAILABLE, "no journal"))


async def one_chunk() -> Any:
    yield BYTES


async def broken(*_: object) -> Any:
    raise BlobError("the disk is gone")
