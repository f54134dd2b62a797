"""A git server on loopback: git's own ``http-backend`` behind aiohttp, with or without a login."""

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web


def git(folder: Path, *arguments: str) -> str:
    """Runs git for a test's own repositories, without the settings of whoever runs the tests."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@test",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@test",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@dataclass
class GitServer:
    """``repository`` is served as ``/r.git``; ``/private.git`` is the same behind a login. Other
    names are other repositories. ``large``: what the LFS server of each has, by sha256."""

    root: Path
    address: str = ""
    requests: list[str] = field(default_factory=list)
    hang: bool = False
    large: dict[str, bytes] = field(default_factory=dict)
    large_at: str = "{address}/large/{oid}"
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Authorization)

    @property
    def repository(self) -> Path:
        return self.root / "r.git"

    def commit(self, branch: str = "main", **files: str) -> str:
        """A new commit with just these files; ``__`` in a name stands for a folder, ``_`` for a
        dot. The commit's hash."""
        return self.commit_to("r.git", branch, **files)

    def commit_to(
        self,
        name: str,
        branch: str = "main",
        modules: Mapping[str, tuple[str, str]] | None = None,
        **files: str,
    ) -> str:
        """Likewise, in the repository ``name``. ``modules``: by path, the address and the commit of
        a submodule."""
        repository = self.root / name
        if not repository.exists():
            repository.mkdir(parents=True)
            git(repository, "init", "-q", "-b", "main")
        git(repository, "checkout", "-q", "-B", branch)
        git(repository, "rm", "-rq", "--cached", "--ignore-unmatch", ".")
        git(repository, "clean", "-fdxq")
        for file, text in files.items():
            path = repository / file.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        lines = [
            f'[submodule "{path}"]\npath = {path}\nurl = {url}\n'
            for path, (url, _) in (modules or {}).items()
        ]
        if lines:
            (repository / ".gitmodules").write_text("".join(lines))
        git(repository, "add", "-A")
        for path, (_, commit) in (modules or {}).items():
            git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
        git(repository, "commit", "-q", "--allow-empty", "-m", "x")
        return git(repository, "rev-parse", "HEAD")

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        self.seen.append((request.path, request.headers.get("Authorization")))
        if self.hang:
            await asyncio.sleep(60)
        if request.path.startswith("/moved.git"):
            raise web.HTTPFound("http://169.254.169.254/r.git/info/refs")
        wanted = "Basic " + base64.b64encode(b"owner:s3cret").decode()
        private = request.path.startswith("/private.git")
        if private and request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="t"'})
        if request.path.endswith("/info/lfs/objects/batch"):
            return await self._batch(request)
        if request.path.startswith("/large/"):
            body = self.large.get(request.path.rpartition("/")[2])
            return web.Response(status=404) if body is None else web.Response(body=body)
        return await self._backend(request)

    async def _batch(self, request: web.Request) -> web.Response:
        """LFS: where the content of each pointer is."""
        objects: list[dict[str, object]] = []
        for one in (await request.json())["objects"]:
            href = self.large_at.format(address=self.address, oid=one["oid"])
            if one["oid"] in self.large:
                action = {"href": href, "header": {"X-Key": "k"}}
                objects.append({**one, "actions": {"download": action}})
            else:
                objects.append({**one, "error": {"code": 404, "message": "not here"}})
        return web.json_response({"objects": objects}, content_type="application/vnd.git-lfs+json")

    async def _backend(self, request: web.Request) -> web.Response:
        path = request.path.replace("/private.git", "/r.git").replace(".git/", ".git/.git/", 1)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate(await request.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=body)


@asynccontextmanager
async def git_server(root: Path) -> AsyncIterator[GitServer]:
    if shutil.which("git") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no git")
    server = GitServer(root)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
