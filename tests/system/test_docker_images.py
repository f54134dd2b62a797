"""Images on a real engine: built from git and from archives, pulled with a login, pruned. All
servers are on loopback."""

import asyncio
import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker
import pytest
from aiohttp import web

from gridd_protocol.definitions import Build, Definition
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.images.images import ImageError, ImageOptions, Images
from gridd_worker.images.records import ImageRecords, Record
from gridd_worker.images.store import ImageStore, now_ms
from tests.system.support.git_server import GitServer, git_server
from tests.system.support.registry import LOGIN, push, registry

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
WORKER = f"image-tester-{os.getpid()}"
DAY = 86_400_000


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker(url="unix:///var/run/docker.sock") as docker:
        yield docker


@pytest.fixture
def options(tmp_path: Path) -> ImageOptions:
    logins = tmp_path / "git-logins"
    logins.write_text("")
    data = tmp_path / "data"
    return ImageOptions(data=data, git_credentials=logins, private_addresses=True)


@pytest.fixture
async def runtime(options: ImageOptions, engine: aiodocker.Docker) -> AsyncIterator[DockerRuntime]:
    assert options.data is not None
    options.data.mkdir()
    runtime = DockerRuntime(worker=WORKER, images=options)
    await runtime.open()
    yield runtime
    await runtime.close()
    await clear(engine, options.data)


async def clear(engine: aiodocker.Docker, data: Path) -> None:
    """By the worker's own record and its own rules: all of its images are too old for it now."""
    store = a_store(engine, data, age_ms_max=1)
    store._records.load(now_ms())
    await store.prune()
    assert [record.name for record in store._records] == []


def a_store(engine: aiodocker.Docker, data: Path, **members: Any) -> ImageStore:
    """As the worker's, a day later."""
    options = {"bytes_max": 1 << 50, "age_ms_max": 30 * DAY, **members}
    return ImageStore(
        engine, data / "images.json", worker=WORKER, clock=lambda: now_ms() + DAY, **options
    )


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path / "served") as server:
        yield server


@pytest.fixture
async def files() -> AsyncIterator[tuple[str, dict[str, bytes]]]:
    """An address, and what is served there by path."""
    served: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/away":
            raise web.HTTPFound("http://169.254.169.254/latest")
        body = served.get(request.path)
        return web.Response(status=200, body=body) if body is not None else web.Response(status=404)

    async with serving(answer) as address:
        yield address, served


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def tar_gz(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def docker(*arguments: str, data: bytes = b"") -> None:
    subprocess.run(["docker", *arguments], input=data, check=True, capture_output=True)


def dockerfile(*lines: str) -> str:
    return "\n".join([f"FROM {IMAGE}", *lines, ""])


async def test_a_branch_is_built_once_and_again_when_it_moved(
    bench, runtime, repository: GitServer, monkeypatch
):
    monkeypatch.setattr("gridd_worker.images.fetch._FRESH_S", 0.0)
    text = dockerfile("COPY word /word")
    repository.commit(Dockerfile=text, word="first")
    url = f"{repository.address}/r.git"
    definition = {"build": {"context": f"{url}#main"}, "command": "cat /word"}
    outcome, heard = await bench.run(runtime, bench.task(definition))
    assert (outcome.error, heard.text()) == (None, "first")
    assert any("is commit" in line for line in heard.steps("cloning repo"))
    assert any("COPY word" in line for line in heard.steps("docker build"))
    _, heard = await bench.run(runtime, bench.task(definition))
    assert (heard.text(), heard.steps("docker build")) == ("first", [])
    repository.commit(Dockerfile=text, word="second")
    _, heard = await bench.run(runtime, bench.task(definition))
    assert heard.text() == "second"
    assert heard.steps("docker build")


async def test_a_private_repository_by_the_owners_login_only(
    bench, runtime, options, repository: GitServer
):
    repository.commit(sub__Dockerfile=dockerfile("COPY word /word"), sub__word="private")
    port = repository.address.rpartition(":")[2]
    context = f"http://owner:s3cret@127.0.0.1:{port}/private.git#main:sub"
    definition = {"build": {"context": context}, "command": "cat /word"}
    outcome, heard = await bench.run(runtime, bench.task(definition))
    assert "no login that opens it" in (outcome.error or "")
    assert any("are not used" in line for line in heard.steps("cloning repo"))
    options.git_credentials.write_text(f"http://owner:s3cret@127.0.0.1:{port}/private.git\n")
    outcome, heard = await bench.run(runtime, bench.task(definition))
    assert (outcome.error, heard.text()) == (None, "private")
    assert "s3cret" not in repr(heard.lines)


async def test_an_uploaded_archive_with_every_member_of_the_build(bench, runtime, engine, files):
    address, served = files
    text = dockerfile(
        "ARG WORD=none",
        "COPY . /here",
        "RUN echo $WORD > /here/word",
        "FROM gridd-test:never",
        "COPY none /none",
    ).replace(f"FROM {IMAGE}", f"FROM {IMAGE} AS wanted", 1)
    archive = tar_gz(
        top__app__a="A", top__app__skip="no", top__docker__df=text,
        **{"top__app__.dockerignore": "skip"},
    )  # fmt: skip
    key = hashlib.sha256(archive).hexdigest()
    served[f"/f/{key}"] = archive
    platform = f"linux/{(await engine.images.inspect(IMAGE))['Architecture']}"
    build = {
        "context": f"{address}/f/{key}", "buildContext": "app", "filename": "docker/df",
        "target": "wanted", "buildArgs": ["WORD=given", "NAMED_ONLY"], "platform": platform,
    }  # fmt: skip
    definition = {"build": build, "command": "sh -c 'ls /here; cat /here/word'"}
    outcome, heard = await bench.run(runtime, bench.task(definition))
    assert (outcome.error, heard.text()) == (None, "a\nword\ngiven\n")
    served.clear()  # its name says what it is: nobody need be asked for it again
    _, heard = await bench.run(runtime, bench.task(definition))
    assert heard.text() == "a\nword\ngiven\n"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ({"context": "{address}/away"}, "may not reach"),
        ({"context": "{address}/none"}, "answered with status 404"),
        ({"context": "{address}/text"}, "neither a gzip tar"),
        ({"context": "{address}/evil"}, "leads out"),
        ({"context": "{address}/f/" + "0" * 64}, "answered with status 404"),
        ({"context": "{address}/good", "buildContext": "../.."}, "'..' segments"),
        ({"context": "file:///etc/passwd"}, "must be the http or https address"),
        ({"dockerfile": "FROM gridd-test:busybox\nADD http://169.254.169.254/ /x"}, "past the ru"),
        ({"dockerfile": "FROM gridd-test:busybox\n\nCOPY no /x"}, "line 3 of the Dockerfile"),
        ({"dockerfile": "FROM gridd-test:busybox\nCOPY no /x"}, "is no build.context to copy"),
        ({"dockerfile": "FROM UPPER CASE"}, "invalid reference format"),
        ({"dockerfile": "NONSENSE"}, "unknown instruction"),
    ],
)
async def test_builds_that_can_not_be(bench, runtime, files, options, build, said):
    address, served = files
    served |= {"/text": b"hello" * 500, "/good": tar_gz(Dockerfile=dockerfile())}
    served["/evil"] = tar_gz(**{"..__evil": "x"})
    build = {key: value.replace("{address}", address) for key, value in build.items()}
    outcome, heard = await bench.run(runtime, bench.task({"build": build, "command": "true"}))
    assert (outcome.error or "").startswith("Failure to ")
    assert said in (outcome.error or "")
    assert heard.started == 0
    assert os.listdir(options.data / "builds") == []


async def test_equal_builds_at_once_are_one_and_both_hear_it(bench, runtime):
    text = dockerfile(
        f"RUN echo {uuid.uuid4().hex}; sleep 0.3; cat /proc/sys/kernel/random/uuid >/u"
    )
    heard: list[list[str]] = [[], []]

    async def one(number: int) -> str:
        def log(step: str, lines: list[Any]) -> None:
            heard[number] += [line.text for line in lines]

        task = bench.task({"build": {"dockerfile": text}, "command": "cat /u"})
        run = await runtime.start(task, log, lambda: None)
        await run.wait()
        await run.discard()
        return heard[number][-1]

    first, second = await asyncio.gather(one(0), one(1))
    assert first == second
    for lines in heard:
        assert sum("Successfully built" in line for line in lines) == 1


async def test_a_build_has_the_network_and_memory_of_the_job(bench, runtime):
    text = dockerfile(
        "RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max >/m"
        " 2>/dev/null; (nc -w 1 169.254.169.254 80 </dev/null && echo reached || echo closed) >>/m"
    )
    task = bench.task({"build": {"dockerfile": text}, "command": "cat /m"}, memory_bytes=64 << 20)
    _, heard = await bench.run(runtime, task)
    assert heard.text().split() == [str(64 << 20), "closed"]


async def test_a_base_that_has_the_engine_fetch_on_build(bench, runtime, engine):
    tag = f"gridd-test-evil:{uuid.uuid4().hex[:8]}"
    evil = ["--change", "ONBUILD ADD http://169.254.169.254/ /x", "-", tag]
    docker("import", *evil, data=tar_gz(a="x"))
    try:
        task = bench.task({"build": {"dockerfile": f"FROM {tag}"}, "command": "true"})
        outcome, _ = await bench.run(runtime, task)
    finally:
        await engine.images.delete(tag)
    assert "past the rules" in (outcome.error or "")
    assert tag in (outcome.error or "")


async def test_sources_at_private_addresses_are_the_owners_to_allow(
    engine, files, repository: GitServer, tmp_path
):
    """The grid's own uploads are fetched wherever it is; other sources, git's too, are not."""
    address, served = files
    archive = tar_gz(Dockerfile=dockerfile())
    served |= {"/a.tar.gz": archive, f"/f/{hashlib.sha256(archive).hexdigest()}": archive}
    repository.commit(Dockerfile=dockerfile())
    blob = next(path for path in served if path.startswith("/f/"))
    images = Images(engine, ImageOptions(data=tmp_path, api=address), worker=WORKER)
    await images.open()
    try:
        for source in (
            f"{address}/a.tar.gz",
            f"{repository.address}/r.git",
            f"{repository.address.replace('127.0.0.1', 'localhost')}/r.git",
        ):
            with pytest.raises(ImageError, match="leads to a private address"):
                await images.ensure(Definition(build=Build(context=source)), lambda *_: None)
        build = Build(context=f"{address}{blob}")
        assert await images.ensure(Definition(build=build), lambda *_: None)
    finally:
        await images.close()
    await clear(engine, tmp_path)


async def test_deadlines_name_the_limit(engine):
    images = Images(engine, ImageOptions(build_s=0.5), worker=WORKER)
    text = dockerfile(f"RUN echo {uuid.uuid4().hex}; sleep 30")
    definition = Definition(build=Build(dockerfile=text))
    await images.open()
    try:
        with pytest.raises(ImageError, match=r"not finished after 0\.5 s"):
            await images.ensure(definition, lambda *_: None)
    finally:
        await images.close()


async def test_a_cancelled_pull_ends_the_download(engine, until):
    """A registry of which one layer never comes to its end."""
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [f"sha256:{'1' * 64}"]}}).encode()
    layer, asked = f"sha256:{uuid.uuid4().hex * 2}", asyncio.Event()
    ended = asyncio.Event()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                   "size": len(config), "digest": f"sha256:{hashlib.sha256(config).hexdigest()}"},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": 1 << 20, "digest": layer}],
    }  # fmt: skip

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/manifests/" in request.path:
            return web.Response(body=json.dumps(manifest).encode(), content_type=kind)
        if not request.path.endswith(layer):
            return web.Response(body=config if "/blobs/" in request.path else b"")
        response = web.StreamResponse(headers={"Content-Length": str(1 << 20)})
        await response.prepare(request)
        asked.set()
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.05)
        finally:
            ended.set()

    async with serving(answer) as address:
        image = f"{address.removeprefix('http://')}/never:1"
        pull = asyncio.create_task(Images(engine).ensure(Definition(image=image), lambda *_: None))
        await until(asked.is_set, pull.done)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        await until(ended.is_set, lambda: "still downloading", 10)


# --- private registries -------------------------------------------------------------------


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a registry behind a login, and the login as Docker writes it."""
    root = tmp_path_factory.mktemp("registry")
    with registry(root, private=True) as address:
        word = base64.b64encode(":".join(LOGIN).encode()).decode()
        settings = root / "config.json"
        settings.write_text(json.dumps({"auths": {address: {"auth": word}}}))
        push(IMAGE, f"{address}/mine:1", root)
        docker("import", "-", f"{address}/large", data=tar_gz(a=os.urandom(20_000).hex()))
        push(f"{address}/large", f"{address}/mine:large", root)
        docker("rmi", f"{address}/large")
        yield address, settings


async def test_a_private_image_by_the_owners_login(engine, private, tmp_path):
    address, settings = private
    image = f"{address}/mine:1"
    without = Images(engine, worker=WORKER)
    with pytest.raises(ImageError, match="no basic auth credentials"):
        await without.ensure(Definition(image=image), lambda *_: None)
    said: list[Any] = []
    images = Images(engine, ImageOptions(data=tmp_path, registry_auth=settings), worker=WORKER)
    await images.open()
    try:
        build = Build(dockerfile=f"FROM {image}\nCOPY --from={image} /etc/passwd /copied\n")
        name = await images.ensure(Definition(build=build), lambda *line: said.append(line))
        assert name.startswith("gridd-built:")
        assert any("Pulling from mine" in repr(line) for line in said)
        assert LOGIN[1] not in repr(said)
        assert base64.b64encode(":".join(LOGIN).encode()).decode() not in repr(said)
    finally:
        await images.close()
        await clear(engine, tmp_path)
    with pytest.raises(aiodocker.DockerError, match="No such image"):
        await engine.images.inspect(image)


async def test_an_image_larger_than_all_that_is_kept_is_not_pulled(engine, private):
    address, settings = private
    images = Images(engine, ImageOptions(registry_auth=settings, bytes_max=1_000), worker=WORKER)
    with pytest.raises(ImageError, match="larger than this worker keeps"):
        await images.ensure(Definition(image=f"{address}/mine:large"), lambda *_: None)


# --- pruning ------------------------------------------------------------------------------


async def test_what_is_pruned_and_what_never(bench, engine, private, tmp_path, until):
    address, settings = private
    ours, theirs = f"{address}/mine:1", f"gridd-test-theirs:{uuid.uuid4().hex[:8]}"
    data = tmp_path / "data"
    data.mkdir()
    runtime = DockerRuntime(worker=WORKER, images=ImageOptions(data=data, registry_auth=settings))
    docker("tag", IMAGE, theirs)
    text = dockerfile(f"RUN echo {uuid.uuid4().hex} > /made")
    broken = dockerfile(f"RUN echo {uuid.uuid4().hex} > /made", "RUN exit 1")
    await runtime.open()
    try:
        await bench.run(runtime, bench.task({"image": theirs, "command": "true"}))
        await bench.run(runtime, bench.task({"image": ours, "command": "true"}))
        await bench.run(runtime, bench.task({"build": {"dockerfile": broken}, "command": "true"}))
        task = bench.task({"build": {"dockerfile": text}, "command": "sleep 60"})
        run = await runtime.start(task, bench.recorder.log, bench.recorder.on_start)
        built = next(record.name for record in records(data) if record.kind == "built")
        assert {record.name for record in records(data) if record.kind == "pulled"} == {ours}

        later = a_store(engine, data, age_ms_max=30 * DAY)
        later._records.load(now_ms())
        assert await later.prune() == []  # nothing is old, nothing too much
        full = a_store(engine, data, bytes_max=0)
        full._records.load(now_ms())
        removed = await full.prune()
        assert ours in removed
        assert built not in removed
        ids = {record.id for record in records(data)}
        await run.stop()
        await run.discard()
        assert built in await again(engine, data)
    finally:
        await runtime.close()
        shown = await engine.images.inspect(theirs)
        await engine.images.delete(theirs)
    left = {image["Id"] for image in await engine._query_json("images/json", params={"all": "1"})}
    assert ids & left - {shown["Id"]} == set()


def records(data: Path) -> list[Record]:
    found = ImageRecords(data / "images.json")
    found.load(now_ms())
    return list(found)


async def again(engine: aiodocker.Docker, data: Path) -> list[str]:
    """Two days later: what was in use on the first look has become old enough."""
    store = ImageStore(
        engine, data / "images.json", worker=WORKER, bytes_max=0, age_ms_max=DAY,
        clock=lambda: now_ms() + 3 * DAY,
    )  # fmt: skip
    store._records.load(now_ms() + 3 * DAY)
    return await store.prune()


async def test_what_was_built_is_found_again_without_its_record(bench, engine, tmp_path):
    runtime = DockerRuntime(worker=WORKER, images=ImageOptions(data=tmp_path))
    word = uuid.uuid4().hex
    text = dockerfile(f"LABEL gridd.builder=somebody word={word}")
    await runtime.open()
    await bench.run(runtime, bench.task({"build": {"dockerfile": text}, "command": "true"}))
    await runtime.close()
    (tmp_path / "images.json").unlink()
    await a_store(engine, tmp_path).prune()
    assert [record.kind for record in records(tmp_path)] == ["adopted"]
    assert len(await again(engine, tmp_path)) == 1
    filters = json.dumps({"label": [f"word={word}"]})
    assert await engine._query_json("images/json", params={"filters": filters, "all": "1"}) == []


async def test_an_image_that_vanished_before_its_container_is_had_again(bench, runtime, engine):
    """Another worker of the engine may prune it just then."""
    text = dockerfile(f"RUN echo {uuid.uuid4().hex} > /made")
    definition = {"build": {"dockerfile": text}, "command": "true"}
    ensure: Callable[..., Any] = runtime._images.ensure
    names: list[str] = []

    async def and_remove(*arguments: Any) -> str:
        names.append(await ensure(*arguments))
        if len(names) == 1:
            await engine.images.delete(names[0])
        return names[-1]

    runtime._images.ensure = and_remove
    outcome, _ = await bench.run(runtime, bench.task(definition))
    assert (outcome.error, outcome.exit_code, len(names)) == (None, 0, 2)
