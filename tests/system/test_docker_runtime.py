"""The Docker runtime against a real engine. ``.ci/docker-engine`` and ``.ci/test-image``
bring up what this needs."""

import asyncio
import contextlib
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from gridd_protocol.definitions import Definition
from gridd_worker.docker import run as docker_run
from gridd_worker.docker import times as docker_times
from gridd_worker.docker.config import cache_volume
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.images.images import ImageError, ImageOptions, Images
from gridd_worker.outputs import collect
from gridd_worker.runtime import RuntimeUnavailable
from gridd_worker.usage import Gauge
from tests.system.support.engines import Line
from tests.system.support.registry import push, registry

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
WORKER = f"tester-{os.getpid()}"  # as in the tasks of ``bench``


def shell(script: str, **members: Any) -> dict[str, Any]:
    quoted = script.replace("'", "'\\''")
    return {"image": IMAGE, "command": f"sh -c '{quoted}'", **members}


@pytest.fixture
async def runtime() -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(worker=WORKER)
    await runtime.open()
    yield runtime
    await runtime.close()


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker(url="unix:///var/run/docker.sock") as docker:
        yield docker


async def containers(engine: aiodocker.Docker) -> list[str]:
    found = await engine.containers.list(all=True, filters={"label": [f"gridd.worker={WORKER}"]})
    return [container.id for container in found]


async def test_streams_apart_in_order_and_container_removed(bench, runtime, engine):
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'last ä'"
    outcome, heard = await bench.run(runtime, bench.task(shell(script)))
    assert (outcome.exit_code, outcome.error, outcome.timed_out) == (0, None, False)
    assert heard.text() == "out 1\nout 2\nout 3\nlast ä"
    assert heard.text(stderr=True) == "err 1\nerr 2\nerr 3\n"
    assert heard.started == 1
    assert outcome.remarks == []
    assert outcome.duration_ms is not None
    assert 0 <= outcome.duration_ms < 5_000
    assert await containers(engine) == []


async def test_exit_code_is_kept_and_remarked(bench, runtime):
    outcome, _ = await bench.run(runtime, bench.task(shell("exit 3")))
    assert outcome.exit_code == 3
    assert outcome.remarks == [
        "⚠️ Container exited with status code: 3",
        "💥 StatusCode: 3",
    ]


async def test_lines_reach_the_sink_while_the_program_runs(bench, runtime):
    """The engine's stamp is the time of printing; a line is heard within 50 ms of it (the best of
    ten, since a shared machine may hold up any single one)."""
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.05; done"
    _, heard = await bench.run(runtime, bench.task(shell(script)))
    delays = sorted(
        at - line.time for at, (_, line) in zip(heard.heard_ms, heard.lines, strict=True)
    )
    assert len(delays) == 10
    assert delays[len(delays) // 2] <= 50, delays


async def test_200k_lines_arrive_once_and_in_order(bench, runtime):
    script = "seq 1 200000; seq 1 1000 >&2"
    outcome, heard = await bench.run(runtime, bench.task(shell(script)))
    assert outcome.exit_code == 0
    assert heard.text() == "".join(f"{n}\n" for n in range(1, 200_001))
    assert heard.text(stderr=True) == "".join(f"{n}\n" for n in range(1, 1_001))
    assert len(heard.lines) == 201_000


async def test_long_lines_are_joined_split_at_the_limit_and_lose_nothing(bench, runtime):
    directories = bench.directories()
    long = "äöü€😀" * 20_000  # 280,000 bytes
    medium = "x" * 40_000 + "ß"
    (directories.inputs / "text").write_text(f"{medium}\n{long}\nend", encoding="utf-8")
    task = bench.task(shell("cat /inputs/text"), directories=directories)
    _, heard = await bench.run(runtime, task)
    assert heard.text() == f"{medium}\n{long}\nend"
    assert heard.lines[0][1].text == f"{medium}\n"
    assert all(len(line.text.encode()) <= 64 << 10 for _, line in heard.lines)


async def test_root_holds_nothing_but_the_image_and_four_entries(bench, runtime):
    """WIRE 5.6, MUST. The engine's init is put at /sbin/docker-init, so the image has a /sbin."""
    _, heard = await bench.run(runtime, bench.task(shell("ls -A /")))
    image = {"bin", "dev", "etc", "proc", "sbin", "sys", "tmp"}
    assert set(heard.text().split()) == image | {".dockerenv", "inputs", "job-cache", "outputs"}


async def test_inputs_nested_and_read_only_outputs_nested(bench, runtime):
    directories = bench.directories()
    (directories.inputs / "a" / "b").mkdir(parents=True)
    (directories.inputs / "a" / "b" / "in.txt").write_text("deep")
    script = (
        "cat /inputs/a/b/in.txt; echo x > /inputs/new; rm -f /inputs/a/b/in.txt;"
        " mkdir -p /outputs/c/d && echo done > /outputs/c/d/out.txt && ln -s /etc/passwd /outputs/l"
    )
    outcome, heard = await bench.run(runtime, bench.task(shell(script), directories=directories))
    assert outcome.exit_code == 0
    assert heard.text() == "deep"
    assert "Read-only file system" in heard.text(stderr=True)
    assert (directories.inputs / "a" / "b" / "in.txt").read_text() == "deep"
    assert not (directories.inputs / "new").exists()
    # No session is needed: nothing here is large enough to be uploaded.
    collected = await collect(directories.outputs, "http://127.0.0.1:9", None)  # type: ignore[arg-type]
    assert list(collected.outputs) == ["c/d/out.txt"]
    assert collected.remarks == ["output 'l' was left out: it is a link"]


async def test_config_files_are_mounted_where_they_say_read_only(bench, runtime):
    directories = bench.directories()
    (directories.config / "0").write_text("setting=1\n")
    task = bench.task(
        shell("cat /etc/app/app.conf; echo no > /etc/app/app.conf"),
        directories=directories,
        config_files={"/etc/app/app.conf": directories.config / "0"},
    )
    outcome, heard = await bench.run(runtime, task)
    assert heard.text() == "setting=1\n"
    assert outcome.exit_code == 1
    assert "Read-only file system" in heard.text(stderr=True)


async def test_privileges_are_gone(bench, runtime):
    script = (
        "grep -E '^(Cap(Prm|Eff|Bnd)|NoNewPrivs)' /proc/self/status;"
        " chown 1 /outputs 2>/dev/null || echo no-chown; cat /proc/1/comm"
    )
    _, heard = await bench.run(runtime, bench.task(shell(script)))
    text = heard.text()
    assert [line.split()[1] for line in text.splitlines() if line.startswith("Cap")] == [
        "0" * 16
    ] * 3
    assert "NoNewPrivs:\t1" in text
    assert "no-chown" in text
    assert "docker-init" in text or "tini" in text


async def test_memory_limit_ends_with_137_and_says_why(bench, runtime):
    task = bench.task(shell("exec tail /dev/zero"), memory_bytes=32 << 20)
    outcome, _ = await bench.run(runtime, task)
    assert outcome.exit_code == 137
    assert outcome.out_of_memory
    assert outcome.remarks[0] == "💥 Container killed with status code 137 (out of memory)"
    assert outcome.remarks[-1] == "💥 StatusCode: 137"


async def test_pids_limit(bench, runtime):
    script = (
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 5 & done; exit 0"
    )
    outcome, heard = await bench.run(runtime, bench.task(shell(script), pids_max=12))
    assert "can't fork" in heard.text(stderr=True)
    assert outcome.exit_code != 0


async def test_more_cpus_than_the_host_has_are_clamped(bench, runtime):
    outcome, _ = await bench.run(runtime, bench.task(shell("true"), cpus=10_000.0))
    assert outcome.exit_code == 0


async def test_shm_size(bench, runtime):
    task = bench.task(shell("df -k /dev/shm | tail -1"), shm_bytes=32 << 20)
    _, heard = await bench.run(runtime, task)
    assert heard.text().split()[1] == str(32 << 10)


async def test_time_limit_counts_from_the_start(bench, runtime, engine):
    outcome, heard = await bench.run(
        runtime, bench.task(shell("echo on; sleep 30"), run_ms_max=700)
    )
    assert outcome.timed_out
    assert outcome.exit_code == 137
    assert outcome.remarks[-2:] == ["💥 Timed out", "💥 StatusCode: 137"]
    assert outcome.duration_ms is not None
    assert 700 <= outcome.duration_ms < 3_000
    assert heard.text() == "on\n"
    assert await containers(engine) == []


async def test_stop_is_quick_whatever_the_children_do(bench, runtime, engine, until):
    script = "trap '' TERM INT; (trap '' TERM; setsid sleep 60) & setsid sleep 60 & echo up; wait"
    task = bench.task(shell(script))
    run = await runtime.start(task, bench.recorder.log, bench.recorder.on_start)
    await until(lambda: bench.recorder.text() == "up\n", lambda: bench.recorder.lines)
    began = time.monotonic()
    await run.stop()
    assert time.monotonic() - began < 2
    assert await containers(engine) == []
    outcome = await run.wait()
    assert outcome.exit_code == 137
    assert not outcome.timed_out
    await run.stop()


@pytest.mark.parametrize("told_by", ["the kernel's files", "the engine"])
async def test_what_a_program_uses(bench, runtime, until, monkeypatch, told_by):
    """Three quarters of a cpu, and the memory that it holds (not what it has read of a file)."""
    asked: list[str] = []
    if told_by == "the engine":
        monkeypatch.setattr(docker_run, "of_container", asked.append)
    hold = "x=$(head -c 30000000 /dev/zero | tr '\\0' x)"
    script = f"head -c 60000000 /dev/zero >/tmp/f; cat /tmp/f >/dev/null; {hold}; echo up;"
    task = bench.task(shell(f"{script} while :; do :; done"), cpus=0.75)
    run = await runtime.start(task, bench.recorder.log, bench.recorder.on_start)
    try:
        await until(lambda: bench.recorder.text() == "up\n", lambda: bench.recorder.lines)
        gauge = Gauge()
        await gauge.look(run.usage)
        await asyncio.sleep(0.5)
        await gauge.look(run.usage)
    finally:
        await run.stop()
    assert bool(asked) is (told_by == "the engine")
    assert gauge.cpus is not None
    assert 0.2 < gauge.cpus < 1, "of three quarters, on a machine that others use too"
    assert gauge.memory is not None
    assert 30_000_000 < gauge.memory < 80_000_000
    assert await run.usage() is None


async def test_cancelled_wait_stops_the_run(bench, runtime, engine, until):
    task = bench.task(shell("echo up; sleep 60"))
    run = await runtime.start(task, bench.recorder.log, bench.recorder.on_start)
    waiting = asyncio.create_task(run.wait())
    await until(lambda: bench.recorder.lines, lambda: bench.recorder.lines)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await containers(engine) == []


async def test_cancelled_start_leaves_no_container(bench, runtime, engine):
    for delay in (0.0, 0.01, 0.03, 0.1):
        start = asyncio.create_task(
            runtime.start(bench.task(shell("sleep 60")), lambda *_: None, lambda: None)
        )
        await asyncio.sleep(delay)
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await start).stop()
        assert await containers(engine) == []


NOT_STARTED = {
    "no-such": f"'no-such' is not in the image {IMAGE}: looked in /bin",
    "/opt/no-such -x": f"'/opt/no-such' is not in the image {IMAGE}",
    "./no-such": f"'./no-such' is not in the image {IMAGE}",
    "/etc/passwd": f"'/etc/passwd' in the image {IMAGE} can't be executed: permission denied",
    "echo on && echo off": (
        f"'echo on && echo off' is not in the image {IMAGE}: all of it is taken for the name of"
        " one program, since it has signs that only a shell understands; write sh -c '…' around it"
    ),
    "/inputs/script": (
        f"'/inputs/script' is in the image {IMAGE}, but what it needs to start is not: the"
        " interpreter that its first line names, or its loader"
    ),
}
INITS_WORDS = "[FATAL tini (7)] exec {} failed: No such file or directory"
STARTED = {  # what it prints on stderr, with its 127
    "sh -c no-such": "sh: no-such: not found",
    "sh -c 'exit 127'": "",
    "sh -c 'echo on; no-such'": "sh: no-such: not found",
    f"sh -c 'echo \"{INITS_WORDS.format('no-such')}\" >&2; exit 127'": (
        INITS_WORDS.format("no-such")  # an init of the image's own would say so
    ),
}


async def test_a_program_that_can_not_be_started_is_an_error_that_says_why(bench, runtime, engine):
    tasks = []
    for command in NOT_STARTED:
        directories = bench.directories()
        script = directories.inputs / "script"
        script.write_text("#!/bin/no-such-interpreter\n")
        script.chmod(0o755)
        tasks.append(bench.task({"image": IMAGE, "command": command}, directories=directories))
    ended = await asyncio.gather(*(bench.run(runtime, task) for task in tasks))
    for (outcome, _), said in zip(ended, NOT_STARTED.values(), strict=True):
        assert outcome.error == said
        assert outcome.remarks == ["💥 Job Error", said]
        assert outcome.exit_code is None
    assert await containers(engine) == []


async def test_a_programs_own_127_is_its_own(bench, runtime):
    lie = INITS_WORDS.format("sh")  # who prints it was there to print it
    commands = [{"image": IMAGE, "command": command} for command in STARTED]
    commands.append(shell(f'echo "{lie}" >&2; exit 127'))
    tasks = [bench.task(command) for command in commands]
    *ended, (liar, _) = await asyncio.gather(*(bench.run(runtime, task) for task in tasks))
    for (outcome, heard), said in zip(ended, STARTED.values(), strict=True):
        assert (outcome.error, outcome.exit_code) == (None, 127), said
        assert heard.text(stderr=True).strip() == said
    assert "is not in the image" not in (liar.error or "")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("127.0.0.1:9/no/such:image", "connection refused"),
        ("UPPER CASE", "invalid reference format"),
        ("", "names no image"),
    ],
)
async def test_image_that_can_not_be_had(bench, runtime, image, said):
    outcome, heard = await bench.run(runtime, bench.task({"image": image, "command": "true"}))
    assert outcome.error is not None
    assert outcome.error.startswith("Failure to ")
    assert said in outcome.error
    assert outcome.exit_code is None
    assert outcome.remarks[1] == "💥 StatusCode: undefined"
    assert heard.started == 0


async def test_bad_substitution_is_an_error_of_the_job(bench, runtime):
    outcome, _ = await bench.run(runtime, bench.task({"image": IMAGE, "command": "echo ${HOME"}))
    assert outcome.error is not None
    assert "bad substitution" in outcome.error


async def test_job_cache_belongs_to_the_queue(bench, runtime, engine):
    queues = [f"tests {uuid.uuid4()}" for _ in range(2)]
    try:
        write = shell("echo kept > /job-cache/file")
        await bench.run(runtime, bench.task(write, queue=queues[0]))
        read = shell("cat /job-cache/file || echo nothing")
        _, same = await bench.run(runtime, bench.task(read, queue=queues[0]))
        _, other = await bench.run(runtime, bench.task(read, queue=queues[1]))
    finally:
        for queue in queues:
            volume = aiodocker.volumes.DockerVolume(engine, cache_volume(queue))
            await volume.delete()
    assert same.text() == "kept\n"
    assert other.text() == "nothing\n"


async def test_env_entrypoint_and_workdir(bench, runtime):
    definition = {
        "image": IMAGE,
        "entrypoint": "sh -c",
        "command": "'echo $WORD; pwd'",
        "workdir": "/tmp",
        "env": {"WORD": "of mouth"},
    }
    _, heard = await bench.run(runtime, bench.task(definition))
    assert heard.text() == "of mouth\n/tmp\n"


async def test_jobs_can_not_reach_each_other(bench, runtime, engine, until):
    server = await runtime.start(
        bench.task(shell("mkdir /tmp/w && cd /tmp/w && httpd -p 8000 && echo up; sleep 60")),
        bench.recorder.log,
        bench.recorder.on_start,
    )
    try:
        await until(lambda: bench.recorder.text() == "up\n", lambda: bench.recorder.lines)
        shown = await engine.containers.container((await containers(engine))[0]).show()
        address = shown["NetworkSettings"]["Networks"]["gridd-jobs"]["IPAddress"]
        connect = shell(f"nc -w 1 {address} 8000 </dev/null && echo reached || echo closed")
        _, heard = await bench.run(runtime, bench.task(connect))
    finally:
        await server.stop()
    assert heard.text() == "closed\n"


# --- builds ------------------------------------------------------------------------------


async def test_inline_build_then_the_same_again_without_a_build(bench, runtime, engine):
    word = uuid.uuid4().hex
    build = {"dockerfile": f"FROM {IMAGE}\nRUN echo building {word} > /made\n"}
    definition = {"build": build, "command": "cat /made"}
    try:
        outcome, first = await bench.run(runtime, bench.task(definition))
        assert outcome.error is None
        assert first.text() == f"building {word}\n"
        assert any("RUN echo building" in text for text in first.steps("docker build"))
        _, again = await bench.run(runtime, bench.task(definition))
        assert again.text() == f"building {word}\n"
        assert again.steps("docker build") == []
    finally:
        ours = {"reference": ["gridd-built"], "label": [f"gridd.builder={WORKER}"]}
        for image in await engine.images.list(filters=ours):
            await engine.images.delete(image["Id"], force=True)


async def test_failed_build_says_why_and_leaves_no_container(bench, runtime, engine):
    build = {"dockerfile": f"FROM {IMAGE}\nRUN echo {uuid.uuid4().hex}; exit 9\n"}
    before = len(await engine.containers.list(all=True))
    outcome, heard = await bench.run(runtime, bench.task({"build": build, "command": "true"}))
    assert outcome.error is not None
    assert outcome.error.startswith("Failure to build the docker image")
    assert outcome.error.endswith("exit code 9")
    assert heard.text() == heard.text(stderr=True) == ""
    assert heard.steps("docker build")
    assert len(await engine.containers.list(all=True)) == before


async def test_cancelled_build_is_cancelled(bench, runtime, engine, until):
    build = {"dockerfile": f"FROM {IMAGE}\nRUN echo {uuid.uuid4().hex}; sleep 60\n"}
    recorder = bench.recorder
    start = asyncio.create_task(
        runtime.start(bench.task({"build": build}), recorder.log, recorder.on_start)
    )
    before = {c.id for c in await engine.containers.list(all=True)}
    await until(
        lambda: any("Running in" in text for text in recorder.steps("docker build")),
        lambda: recorder.lines,
    )
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    deadline = time.monotonic() + 5
    while left := {c.id for c in await engine.containers.list()} - before:
        assert time.monotonic() < deadline, f"still building: {left}"
        await asyncio.sleep(0.05)


# --- a registry of our own -----------------------------------------------------------------


@pytest.fixture(scope="module", name="registry")
def a_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as address:
        push(IMAGE, f"{address}/tests/busybox:1")
        yield address


async def test_pull_when_absent_and_not_again(bench, runtime, engine, registry):
    image = f"{registry}/tests/busybox:1"
    definition = {"image": image, "command": "echo pulled"}
    try:
        _, first = await bench.run(runtime, bench.task(definition))
        assert first.text() == "pulled\n"
        assert any("Pulling from tests/busybox" in t for t in first.steps("docker image pull"))
        _, again = await bench.run(runtime, bench.task(definition))
        assert again.text() == "pulled\n"
        assert again.steps("docker image pull") == []
    finally:
        await engine.images.delete(image)


async def test_pull_by_digest(bench, runtime, engine, registry):
    image = f"{registry}/tests/busybox:1"
    await bench.run(runtime, bench.task({"image": image, "command": "true"}))
    shown = await engine.images.inspect(image)
    digests = [name for name in shown["RepoDigests"] if name.startswith(registry)]
    await engine.images.delete(image)
    try:
        _, heard = await bench.run(runtime, bench.task({"image": digests[0], "command": "echo d"}))
        assert heard.text() == "d\n"
        assert any(digests[0].partition("@")[2] in t for t in heard.steps("docker image pull"))
    finally:
        await engine.images.delete(digests[0])


async def test_missing_tag(bench, runtime, registry):
    outcome, _ = await bench.run(runtime, bench.task({"image": f"{registry}/tests/busybox:2"}))
    assert outcome.error is not None
    assert "Failure to pull or build the docker image" in outcome.error
    assert "manifest unknown" in outcome.error


async def test_pull_without_progress_is_given_up(engine):
    """A registry that accepts and never answers."""
    held: list[asyncio.StreamWriter] = []
    hung = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = hung.sockets[0].getsockname()[1]
    definition = Definition(image=f"127.0.0.1:{port}/never:1")
    images = Images(engine, ImageOptions(no_progress_s=0.5, pull_s=5))
    try:
        with pytest.raises(ImageError, match=r"no progress for 0\.5 s"):
            await images.ensure(definition, lambda *_: None)
    finally:
        hung.close()
        for writer in held:
            writer.transport.abort()


# --- an engine that is not there ---------------------------------------------------------


async def test_no_engine_says_what_to_do(tmp_path: Path):
    with pytest.raises(RuntimeUnavailable, match="start it, or choose another runtime"):
        await DockerRuntime(f"unix://{tmp_path}/none.sock").open()


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    line = Line(tmp_path / "engine.sock")
    await line.open()
    yield line
    await line.cut()


async def test_a_cut_line_costs_no_log_line_and_no_outcome(
    bench, line: Line, until: Callable[..., Any]
):
    runtime = DockerRuntime(f"unix://{line.path}")
    await runtime.open()
    try:
        script = "for i in $(seq 1 60); do echo $i; echo e$i >&2; sleep 0.03; done; exit 4"
        recorder = bench.recorder
        run = await runtime.start(bench.task(shell(script)), recorder.log, recorder.on_start)
        waiting = asyncio.create_task(run.wait())
        for count in (10, 60):
            await until(lambda n=count: len(recorder.lines) > n, lambda: recorder.lines[-1:])
            await line.cut()
            await asyncio.sleep(0.1)
            await line.open()
        outcome = await waiting
    finally:
        await runtime.close()
    assert recorder.text() == "".join(f"{n}\n" for n in range(1, 61))
    assert recorder.text(stderr=True) == "".join(f"e{n}\n" for n in range(1, 61))
    assert outcome.exit_code == 4


async def test_engine_gone_for_good_never_hangs(
    bench, line: Line, until: Callable[..., Any], monkeypatch, engine
):
    monkeypatch.setattr("gridd_worker.docker.run._ENGINE_GONE_S", 1.0)
    runtime = DockerRuntime(f"unix://{line.path}")
    await runtime.open()
    try:
        recorder = bench.recorder
        run = await runtime.start(
            bench.task(shell("echo up; sleep 60")), recorder.log, recorder.on_start
        )
        await until(lambda: recorder.lines, lambda: recorder.lines)
        await line.cut()
        with pytest.raises(RuntimeUnavailable, match="went away"):
            await asyncio.wait_for(run.wait(), 10)
    finally:
        await runtime.close()
        for left in await containers(engine):
            await engine.containers.container(left).delete(force=True)


async def test_what_an_earlier_process_left_is_removed_but_for_what_is_kept(
    bench, runtime, engine, until
):
    recorder = bench.recorder
    tasks = [bench.task(shell("sleep 60")) for _ in range(2)]
    runs = [await runtime.start(task, recorder.log, recorder.on_start) for task in tasks]
    stranger = DockerRuntime(worker=WORKER, grid="another")
    await stranger.open()
    await stranger.sweep(frozenset())
    assert len(await containers(engine)) == 2
    await stranger.close()
    await runtime.sweep({(tasks[1].queue, tasks[1].job, tasks[1].attempt)})
    assert len(await containers(engine)) == 1
    outcome = await runs[0].wait()
    assert outcome.exit_code == 137 or "removed from outside" in (outcome.error or "")
    await runs[1].stop()
    assert await containers(engine) == []


async def test_the_engine_removes_what_the_worker_may_not(bench, runtime, engine):
    """A worker that is not root has no right to what a container's root made, and needs none."""
    script = "cd /outputs; mkdir -pm 700 a/b; echo x >a/b/c; ln -s /inputs l; ln -s /etc e"
    task = bench.task(shell(script))
    await bench.run(runtime, task)
    tree = task.outputs.parent
    kept = tree.parent / "kept"
    kept.mkdir()
    images = {name for image in await engine.images.list() for name in image["RepoTags"] or ()}
    await runtime.erase(tree)
    assert list(tree.parent.iterdir()) == [kept]
    assert os.listdir("/etc")
    assert await containers(engine) == []
    left = {name for image in await engine.images.list() for name in image["RepoTags"] or ()}
    assert not [name for name in left - images if name.startswith("gridd-empty")]
    with pytest.raises(OSError, match="could not remove it"):
        await runtime.erase(Path("/nowhere/at/all"))


def test_scripts_can_be_run() -> None:
    for name in ("docker-engine", "test-image"):
        script = Path(__file__).parents[2] / ".ci" / name
        assert script.stat().st_mode & stat.S_IXUSR


async def test_the_age_of_a_container_does_not_count_on_the_wall_clock(
    bench, runtime, engine, monkeypatch
):
    run = await runtime.start(
        bench.task(shell("sleep 60")), bench.recorder.log, bench.recorder.on_start
    )
    [container] = await containers(engine)
    state = (await engine.containers.container(container).show())["State"]
    monkeypatch.setattr("gridd_worker.docker.times.time.time", lambda: time.time_ns() / 1e9 + 3_600)
    assert 0 <= docker_times.age_s(container, state) < 30
    elsewhere = state | {"Pid": os.getpid()}  # as a worker in a container of its own may see it
    assert 3_590 < docker_times.age_s(container, elsewhere) < 3_630
    await run.stop()
