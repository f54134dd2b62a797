"""BuildKit on a real engine, by its plain API: what it builds, what of the limits holds, how it
ends. What it costs in limits is the owner's to allow."""

import asyncio
import base64
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from gridd_protocol.definitions import Build, Definition
from gridd_worker.docker.config import ContainerOptions
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.images.build import BuildRoom
from gridd_worker.images.images import ImageError, ImageOptions, Images
from gridd_worker.images.store import ImageStore, now_ms
from tests.system.support.processes import processes_with
from tests.system.support.registry import LOGIN, push, registry

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
WORKER = f"buildkit-tester-{os.getpid()}"
DAY = 86_400_000


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker(url="unix:///var/run/docker.sock") as docker:
        yield docker


@pytest.fixture
async def runtime(tmp_path: Path, engine: aiodocker.Docker) -> AsyncIterator[DockerRuntime]:
    """Its images go by the worker's own record and rules at the end: a label and a name that do
    not hold would leave them."""
    data = tmp_path / "data"
    data.mkdir()
    login = tmp_path / "config.json"
    login.write_text("{}")
    options = ImageOptions(data=data, builder="auto", registry_auth=login)
    runtime = DockerRuntime(
        worker=WORKER, images=options, containers=ContainerOptions(network="none")
    )
    await runtime.open()
    yield runtime
    await runtime.close()
    await clear(engine, data)


async def clear(engine: aiodocker.Docker, data: Path) -> None:
    store = ImageStore(
        engine, data / "images.json", worker=WORKER, bytes_max=1 << 50, age_ms_max=1,
        clock=lambda: now_ms() + DAY,
    )  # fmt: skip
    store._records.load(now_ms())
    await store.prune()
    assert [record.name for record in store._records] == []


def dockerfile(*lines: str, image: str = IMAGE) -> str:
    return "\n".join([f"FROM {image}", *lines, ""])


async def test_a_modern_dockerfile_from_a_private_image(bench, runtime, engine, tmp_path):
    root = tmp_path / "registry"
    root.mkdir()
    with registry(root, private=True) as address:
        image = f"{address}/mine:1"
        word = base64.b64encode(":".join(LOGIN).encode()).decode()
        for place in (root, tmp_path):
            (place / "config.json").write_text(json.dumps({"auths": {address: {"auth": word}}}))
        push(IMAGE, image, root)
        text = dockerfile(
            "ARG WORD TARGETARCH",
            "RUN --mount=type=cache,target=/c echo $WORD-$TARGETARCH > /c/x && cp /c/x /x",
            "RUN ip link | grep -c eth0 >> /x; echo printed >&2",
            f"COPY --from={image} --chmod=711 /bin/busybox /y",
            image=f"--platform=$BUILDPLATFORM {image}",
        )
        build = {"dockerfile": text, "buildArgs": ["WORD=given"]}
        definition = {"build": build, "command": "sh -c 'cat /x; stat -c %a /y'"}
        outcome, heard = await bench.run(runtime, bench.task(definition))
        told = [line.text for _, line in heard.lines]
        arch = (await engine.images.inspect(IMAGE))["Architecture"]
        assert (outcome.error, heard.text()) == (None, f"given-{arch}\n0\n711\n"), told
        assert any("Pulling from mine" in line for line in told)
        steps = heard.steps("docker build")
        assert any("RUN --mount=type=cache" in line for line in steps), steps
        assert any("naming to docker.io/library/gridd-built:" in line for line in steps), steps
        assert [line.text for _, line in heard.lines if line.stderr] == ["#4 printed"]
        _, heard = await bench.run(runtime, bench.task(definition))
        assert heard.steps("docker build") == []


async def test_what_the_classic_builder_can_it_builds(bench, runtime):
    text = dockerfile(f"RUN echo {uuid.uuid4().hex} > /x")
    task = bench.task({"build": {"dockerfile": text}, "command": "true"})
    outcome, heard = await bench.run(runtime, task)
    steps = heard.steps("docker build")
    assert any(line.startswith("Step 2/") for line in steps), (outcome, steps)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["RUN --mount=type=tmpfs,target=/t \\", "  exit 7", "RUN true"],
         "line 2 of the Dockerfile ('RUN --mount=type=tmpfs,target=/t exit 7'): "),
        (["COPY --chmod=1 none /x"], "line 2 of the Dockerfile ('COPY --chmod=1 none /x'): "),
        (["RUN --mount=type=secret,id=s,required=true cat /run/secrets/s"], "line 2 of the Dock"),
        (["RUN --network=host ip link"], "network"),
    ],
)  # fmt: skip
async def test_the_line_that_failed(bench, runtime, lines, said):
    """``RUN --network=host``: an older BuildKit does not know it, a newer one has no permission."""
    task = bench.task({"build": {"dockerfile": dockerfile(*lines)}, "command": "true"})
    outcome, heard = await bench.run(runtime, task)
    assert said in (outcome.error or ""), outcome.error
    assert "failed to solve" not in (outcome.error or "")
    assert heard.started == 0


async def test_a_here_document(bench, runtime, engine):
    """An engine of before 23 can't, and says what would help."""
    text = dockerfile("RUN sh <<EOF", f"echo {uuid.uuid4().hex} >/x", "from=x", "EOF", "RUN cat /x")
    task = bench.task({"build": {"dockerfile": text}, "command": "true"})
    outcome, heard = await bench.run(runtime, task)
    version = await engine.version()
    if tuple(map(int, version["ApiVersion"].split("."))) >= (1, 42):
        assert outcome.error is None, heard.lines
    else:
        assert "here-document in RUN (line 2)" in (outcome.error or "")
        assert "# syntax=docker/dockerfile:1" in (outcome.error or "")


async def test_doctor_says_what_it_costs(runtime):
    (found,) = (one for one in await runtime.examine() if one.check == "builds")
    assert (found.state, "no limit of memory and cpus" in found.found) == ("warn", True)


async def test_the_owner_did_not_allow_it(engine):
    images = Images(engine, worker=WORKER)
    text = dockerfile("", "RUN --mount=type=cache,target=/c make")
    await images.open()
    try:
        with pytest.raises(ImageError, match=r"RUN --mount \(line 3\), which needs BuildKit"):
            await images.ensure(Definition(build=Build(dockerfile=text)), lambda *_: None)
    finally:
        await images.close()


async def test_a_cancelled_build_stops(runtime, bench, until):
    word = uuid.uuid4().hex
    text = dockerfile(f"RUN --mount=type=cache,target=/c echo {word}; sleep 4000; false")
    told: list[Any] = []
    task = bench.task({"build": {"dockerfile": text}, "command": "true"})
    run = asyncio.create_task(
        runtime.start(task, lambda _, lines: told.extend(lines), lambda: None)
    )
    await until(lambda: any(line.text.endswith(f" {word}") for line in told), lambda: told)
    assert processes_with(word)
    run.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await run
    await until(lambda: not processes_with(word), lambda: processes_with(word))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("shared", [True, False])
async def test_caches_of_a_build_where_strangers_submit(engine, tmp_path, shared):
    """One could put its own files into the downloads of another's, or into its result."""
    word, told = uuid.uuid4().hex, list[str]()
    options = ImageOptions(data=tmp_path, builder="auto", shared=shared)
    images = Images(engine, options, worker=WORKER)
    await images.open()
    try:
        # Equal steps, then one that differs: the result of a step, then its cache.
        for label, step in (("a", "1"), ("b", "1"), ("b", "2")):
            text = dockerfile(
                f"RUN --mount=type=cache,id={word},target=/c {{ [ -e /c/x ] && echo is full"
                f" || echo is empty; }}; echo {word} {step} >/c/x",
                f"LABEL x={label}",
            )
            definition = Definition(build=Build(dockerfile=text))
            room = BuildRoom(network="none")
            await images.ensure(
                definition, lambda _, lines: told.extend(one.text for one in lines), room
            )
    finally:
        await images.close()
    await clear(engine, tmp_path)
    seen = [line.split()[-1] for line in told if line.endswith((" is full", " is empty"))]
    assert seen == (["empty"] * 3 if shared else ["empty", "full"]), told
