"""Jobs that attack: what a container may not do, tried on a real engine. Where an attack could fail
for another reason, it is made without our limits first and must succeed."""

import asyncio
import io
import os
import subprocess
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
import pytest
from aiohttp import web

from gridd_protocol.names import NO_NETWORK_TAG
from gridd_worker.docker.config import NETWORKS, ContainerOptions
from gridd_worker.docker.runtime import DockerRuntime
from gridd_worker.files import FileLimits
from gridd_worker.outputs import OutputError, collect
from gridd_worker.runtime import RuntimeUnavailable

pytestmark = pytest.mark.docker

IMAGE = "gridd-test:busybox"
WORKER = f"tester-{os.getpid()}"
METADATA = "169.254.169.254"
LAN = "10.213.77.2"
NOBODY = "65534:65534"


def shell(script: str, **members: Any) -> dict[str, Any]:
    quoted = script.replace("'", "'\\''")
    return {"image": IMAGE, "command": f"sh -c '{quoted}'", **members}


def docker(*arguments: str, data: bytes = b"") -> str:
    done = subprocess.run(["docker", *arguments], input=data, capture_output=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout.decode()


def without_our_limits(*options: str, script: str, image: str = IMAGE) -> str:
    """What the same program can do in a container as the engine makes it."""
    return docker("run", "--rm", "-i", *options, image, "sh", "-c", f"{script} 2>&1; true")


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(worker=WORKER, containers=ContainerOptions(**options))
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.close()


@pytest.fixture
async def runtime() -> AsyncIterator[DockerRuntime]:
    async with opened() as runtime:
        yield runtime


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker(url="unix:///var/run/docker.sock") as docker:
        yield docker


# --- privileges ----------------------------------------------------------------------------

# Each line is something that a root with Docker's own capabilities, or with more, can do.
POWERS = {
    "make a device": "mknod /tmp/device b 8 0",
    "give a file away": "touch /tmp/mine && chown 7 /tmp/mine",
    "change the root": "chroot / true",
    "send raw packets": "ping -c 1 -W 1 127.0.0.1",
    "become another": "su -s /bin/true nobody",
    "listen below its rights": "mount -t tmpfs none /tmp",
    "rename the machine": "hostname stolen",
    "read the kernel log": "dmesg",
    "set the kernel": "echo 1 >/proc/sys/kernel/panic",
    "make a namespace": "unshare -m true",
    "stop the machine": "echo h >/proc/sysrq-trigger",
}


async def test_roots_powers_are_gone(bench, runtime):
    script = "; ".join(
        f"if ( {what} ) >/dev/null 2>&1; then echo CAN {name}; else echo no; fi"
        for name, what in POWERS.items()
    )
    _, heard = await bench.run(runtime, bench.task(shell(script)))
    assert heard.text().split("\n")[:-1] == ["no"] * len(POWERS), heard.lines
    docker_gives = without_our_limits(script=script)
    for power in ("make a device", "give a file away", "change the root", "send raw packets"):
        assert f"CAN {power}" in docker_gives


@pytest.fixture(scope="module")
def setuid_image() -> Iterator[str]:
    """busybox's ``su`` works only with root's rights, which its owner and mode give it."""
    tag = f"gridd-test-setuid:{uuid.uuid4().hex[:8]}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode, content in (
            ("bin/busybox", 0o4755, Path("/bin/busybox").read_bytes()),
            ("etc/passwd", 0o644, b"root::0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
            ("etc/shadow", 0o600, b"root::1:0:99999:7:::\nnobody:*:1:0:99999:7:::\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(content)
            tar.addfile(entry, io.BytesIO(content))
        for applet in ("sh", "su", "id", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    docker("import", "--change", "ENV PATH=/bin", "-", tag, data=buffer.getvalue())
    yield tag
    docker("image", "rm", "-f", tag)


async def test_a_setuid_program_gains_nothing(bench, setuid_image):
    script = "su -c 'cat /etc/shadow' root </dev/null"
    assert "root::1" in without_our_limits("--user", NOBODY, script=script, image=setuid_image)
    async with opened(user=NOBODY) as runtime:
        definition = shell(f"{script}; id -u") | {"image": setuid_image}
        _, heard = await bench.run(runtime, bench.task(definition))
    assert heard.text() == "65534\n"
    assert "must be suid" in heard.text(stderr=True)


async def test_the_owners_user_and_runtime_are_the_containers(bench, engine, until):
    """Outputs can be written by any user. The runtime is the engine's own under its other name,
    since no second one is installed here."""
    definition = shell("id -u; id -g; echo hers >/outputs/file; echo on; sleep 30")
    async with opened(user=NOBODY, runtime="io.containerd.runc.v2") as runtime:
        assert "io.containerd.runc.v2" in runtime.describe()
        run = await runtime.start(
            bench.task(definition), bench.recorder.log, bench.recorder.on_start
        )
        try:
            await until(lambda: "on\n" in bench.recorder.text(), lambda: bench.recorder.lines)
            ours = {"label": [f"gridd.worker={WORKER}"]}
            [container] = await engine.containers.list(filters=ours)
            shown = await container.show()
        finally:
            await run.stop()
    assert shown["HostConfig"]["Runtime"] == "io.containerd.runc.v2"
    assert bench.recorder.text() == "65534\n65534\non\n"
    [written] = bench.data.glob("jobs/*/outputs/file")
    assert written.read_text() == "hers\n"


async def test_a_runtime_that_the_engine_has_not_is_refused_at_the_start():
    with pytest.raises(RuntimeUnavailable, match="--docker-runtime none-such: the engine knows"):
        await DockerRuntime(containers=ContainerOptions(runtime="none-such")).open()


# --- resources and files -------------------------------------------------------------------


async def test_a_fork_bomb_is_bounded_and_ends_with_its_job(bench, runtime, engine, until):
    script = "bomb() { bomb & bomb & sleep 60; }; bomb & echo up; exec sleep 60"
    task = bench.task(shell(script), pids_max=64)
    run = await runtime.start(task, bench.recorder.log, bench.recorder.on_start)
    try:
        await until(  # it is at its bound
            lambda: "can't fork" in bench.recorder.text(stderr=True), lambda: bench.recorder.lines
        )
        [container] = await engine.containers.list(filters={"label": [f"gridd.worker={WORKER}"]})
        seen = []
        for _ in range(5):
            top = await engine._query_json(f"containers/{container.id}/top")
            seen.append(len(top["Processes"]))
    finally:
        began = time.monotonic()
        await run.stop()
    assert time.monotonic() - began < 2
    assert 10 < max(seen) <= 64
    assert await engine.containers.list(all=True, filters={"id": [container.id]}) == []


async def test_inputs_stay_as_they_are(bench, runtime):
    directories = bench.directories()
    (directories.inputs / "sub").mkdir()
    for name in ("a", "sub/b"):
        (directories.inputs / name).write_text("as it was")
    tries = (
        "echo x >>/inputs/a", "echo x >/inputs/new", "rm /inputs/a", "mv /inputs/a /inputs/c",
        "chmod 777 /inputs/a", "rm -r /inputs/sub", "ln /inputs/a /outputs/link",
        "mount -o remount,rw /inputs", "umount /inputs",
    )  # fmt: skip
    script = "; ".join(f"if {one} 2>/dev/null; then echo CAN {one}; fi" for one in tries)
    _, heard = await bench.run(runtime, bench.task(shell(script), directories=directories))
    assert heard.text() == ""
    assert sorted(path.name for path in directories.inputs.rglob("*")) == ["a", "b", "sub"]
    assert (directories.inputs / "a").read_text() == "as it was"
    assert not (directories.inputs / "a").stat().st_mode & 0o022


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404 if request.method == "GET" else 200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


async def test_outputs_that_lead_elsewhere_are_left_out(bench, runtime, receiver):
    address, asked = receiver
    script = (
        "cd /outputs && echo mine >file && ln -s /etc/passwd passwd && ln -s / root"
        " && ln -s ../../../../../../etc etc && ln -s file near && mkfifo pipe"
        " && mkdir d && ln -s /etc/shadow d/shadow && ln -s .. d/up"
    )
    directories = bench.directories()
    outcome, heard = await bench.run(runtime, bench.task(shell(script), directories=directories))
    assert outcome.exit_code == 0, heard.lines
    async with aiohttp.ClientSession() as http:
        collected = await collect(directories.outputs, address, http)
    assert list(collected.outputs) == ["file"]
    left_out = sorted(remark.split("'")[1] for remark in collected.remarks)
    assert left_out == ["d/shadow", "d/up", "etc", "near", "passwd", "pipe", "root"]
    assert asked == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("for i in $(seq 21); do : >/outputs/$i; done", "more than 20 output files"),
        ("mkdir -p /outputs/a/b; for i in $(seq 30); do : >/outputs/a/b/$i; done", "more than 20"),
        ("truncate -s 100T /outputs/huge || truncate -s 8G /outputs/huge", "bytes; 5000 are allow"),
        ("for i in 1 2 3; do head -c 4000 /dev/zero >/outputs/$i; done", "more than 9000 bytes to"),
    ],
    ids=["number", "number in folders", "size of one", "size together"],
)
async def test_outputs_beyond_their_limits(bench, runtime, receiver, script, said):
    address, asked = receiver
    limits = FileLimits(outputs_max=20, output_bytes_max=5_000, outputs_bytes_max=9_000)
    directories = bench.directories()
    await bench.run(runtime, bench.task(shell(script), directories=directories))
    async with aiohttp.ClientSession() as http:
        with pytest.raises(OutputError, match=said):
            await collect(directories.outputs, address, http, limits)
    assert asked == []


# --- network -------------------------------------------------------------------------------


@dataclass
class Neighbourhood:
    """What is around a worker: ``host`` are addresses of a service of its machine; at ``METADATA``
    and ``LAN`` somebody listens on the ports 80 and 53."""

    host: list[str]

    def connects(self) -> str:
        """A script that tries them all: for each, its name and whether it was reached."""
        there = {f"host{n}": address for n, address in enumerate(self.host)}
        there |= {"metadata": f"{METADATA}:80", "lan": f"{LAN}:80", "names": f"{LAN}:53"}
        get = r"printf 'GET / HTTP/1.0\r\n\r\n'"
        tries = (
            f"if {get} | nc -w 3 {address.replace(':', ' ')} >/dev/null 2>&1;"
            f" then echo {name} reached; else echo {name} closed; fi &"
            for name, address in there.items()
        )
        return " ".join(tries) + " wait"


def reached(text: str) -> set[str]:
    tried = dict(line.split() for line in text.splitlines())
    assert set(tried.values()) <= {"reached", "closed"}
    assert len(tried) == 5, text
    return {name for name, what in tried.items() if what == "reached"}


@pytest.fixture
async def around() -> AsyncIterator[Neighbourhood]:
    """Containers on networks of their own stand for other machines. The engine keeps its networks
    apart by itself, so that is lifted for them: only the worker's own rules are left."""
    async with opened(), opened(network="public"):
        pass  # their bridges are there now
    bridges = ("bridge", NETWORKS["lan"])
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    gateways = [docker("network", "inspect", "-f", gateway, name).strip() for name in bridges]
    services = [await asyncio.start_server(_hang_up, one, 0) for one in gateways]
    tag = uuid.uuid4().hex[:8]
    made: list[list[str]] = []
    try:
        for number, address in enumerate((METADATA, LAN)):
            name = f"gtest-{number}{tag}"  # a name for an interface: at most 15 characters
            made.append(_network(name, address))
        sockets = [service.sockets[0].getsockname() for service in services]
        yield Neighbourhood([f"{address}:{port}" for address, port in sockets])
    finally:
        for service in services:
            service.close()
        for undo in reversed(made):
            _take_away(undo)


def _network(name: str, address: str) -> list[str]:
    """Returns what takes it away again."""
    subnet = f"{address.rpartition('.')[0]}.0/24"
    option = f"com.docker.network.bridge.name={name}"
    docker("network", "create", "--subnet", subnet, "-o", option, name)
    undo = [f"docker network rm {name}"]
    serve = "mkdir /w; httpd -h /w -p 53; exec httpd -f -h /w -p 80"
    docker(
        "run", "-d", "--name", name, "--network", name, "--ip", address, IMAGE, "sh", "-c", serve
    )
    undo.insert(0, f"docker rm -f {name}")
    for way in ("-i", "-o"):
        rule = f"DOCKER-ISOLATION-STAGE-1 {way} {name} -j ACCEPT"
        subprocess.run(["iptables", "-w", "-I", *rule.split()], check=True)
        undo.append(f"iptables -w -D {rule}")
    return undo


def _take_away(undo: list[str]) -> None:
    for command in undo:
        subprocess.run(command.split(), check=True, capture_output=True)


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may see to the packet filter")
async def test_what_a_job_can_not_connect_to(bench, around: Neighbourhood):
    """Also where the owner keeps jobs from private addresses. Name servers are reached."""
    script = around.connects()
    plain = await asyncio.to_thread(without_our_limits, script=script)
    assert reached(plain) == {"host0", "metadata", "lan", "names"} | (
        reached(plain) & {"host1"}  # another bridge's own address
    )
    async with opened() as runtime:
        _, heard = await bench.run(runtime, bench.task(shell(script)))
        assert reached(heard.text()) == {"lan", "names"}
    async with opened(network="public") as runtime:
        _, heard = await bench.run(runtime, bench.task(shell(script)))
        assert reached(heard.text()) == {"names"}
    async with opened(network="none") as runtime:
        _, heard = await bench.run(runtime, bench.task(shell(script)))
        assert reached(heard.text()) == set()


async def test_no_network_is_none_at_all_for_builds_too(bench, engine):
    look = "ls /sys/class/net; cat /proc/net/route | tail -n +2"
    async with opened(network="none") as runtime:
        _, heard = await bench.run(runtime, bench.task(shell(look)))
        assert heard.text() == "lo\n"
        text = f"FROM {IMAGE}\nRUN (echo {uuid.uuid4().hex}; {look}) >/seen\n"
        definition = {"build": {"dockerfile": text}, "command": "cat /seen"}
        _, heard = await bench.run(runtime, bench.task(definition))
        assert heard.text().splitlines()[1:] == ["lo"]
    ours = {"reference": ["gridd-built"], "label": [f"gridd.builder={WORKER}"]}
    for image in await engine.images.list(filters=ours):
        await engine.images.delete(image["Id"], force=True)


async def test_a_job_that_asks_for_no_network_has_none(bench, engine):
    look = "ls /sys/class/net"
    async with opened() as runtime:
        assert runtime.offers == (NO_NETWORK_TAG,)
        _, heard = await bench.run(runtime, bench.task(shell(look)))
        assert heard.text() != "lo\n", "the worker's owner gives jobs a network"
        asking = shell(look) | {"tags": ["eu", NO_NETWORK_TAG]}
        _, heard = await bench.run(runtime, bench.task(asking))
        assert heard.text() == "lo\n"
        text = f"FROM {IMAGE}\nRUN (echo {uuid.uuid4().hex}; {look}) >/seen\n"
        built = {"build": {"dockerfile": text}, "command": f"sh -c 'cat /seen; {look}'"}
        _, heard = await bench.run(runtime, bench.task(built | {"tags": [NO_NETWORK_TAG]}))
        seen = heard.text().splitlines()[1:]
        assert seen[-1] == "lo", "it runs without"
        assert len(seen) > 2, "and was built as others are, who may find its image"
    ours = {"reference": ["gridd-built"], "label": [f"gridd.builder={WORKER}"]}
    for image in await engine.images.list(filters=ours):
        await engine.images.delete(image["Id"], force=True)


async def test_a_network_that_can_not_be_kept_is_refused(monkeypatch):
    async def fails(*_: str) -> str:
        return "the packet filter is not there"

    monkeypatch.setattr("gridd_worker.docker.network._iptables", fails)
    with pytest.raises(RuntimeUnavailable, match="--job-network public can't be had: "):
        await DockerRuntime(containers=ContainerOptions(network="public")).open()
    async with opened() as runtime:
        assert "jobs can reach this machine's own services" in runtime.describe()
