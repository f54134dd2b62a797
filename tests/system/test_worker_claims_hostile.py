"""A stranger who knows a queue's name, against a real worker and engine: what he may try costs his
own job only, which ends with a sentence, and nothing of it stays.

Powers, networks, links and limits are in ``test_strangers_code``; what is tried here is what a
definition, a log and a tree of files can hold.
"""

import asyncio
import io
import json
import re
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from gridd_worker.files import remove_tree
from tests.system.support.grids import IMAGE, Grid, docker_grid, shell
from tests.system.support.processes import until

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

WORKER_BYTES_MAX = 400 << 20  # what the worker itself may have while jobs flood it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Grid]:
    options = ("--private-addresses", "allow", "--memory", "96m")
    folder = tmp_path_factory.mktemp("hostile")
    try:
        async with docker_grid(
            folder, "hostile", cpus=8, data=folder / "work", options=options
        ) as grid:
            yield grid
        left = list((grid.worker.data / "work").glob("*/jobs/*"))
    finally:
        remove_tree(folder / "work")  # pytest can't remove all of what is made here
    said = grid.worker.said()
    for word in ("Traceback", "no jobs are taken", "left something behind"):
        assert word not in said, said
    assert left == []


def utf8(text: str) -> dict[str, str]:
    return {"type": "utf8", "value": text}


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "a working directory named as a fault of the machine": (
        shell("true", workdir="/proc/x: no space left on device"),
        "no such file or directory",
    ),
    "a relative one": (shell("true", workdir="x"), "absolute path"),
    "a NUL in a variable": (shell("true", env={"A": "x\0y"}), "null"),
    "a variable without a name": (shell("true", env={"": "x"}), "invalid environment variable"),
    "an option for an image": ({"image": "--privileged"}, "invalid reference"),
    "words behind an image": ({"image": f"{IMAGE} --privileged"}, "invalid reference"),
    "a path of the engine for an image": ({"image": "../info?x="}, "invalid reference"),
    "a letter that looks like another": ({"image": "gridd-test:busyb\u043ex"}, "invalid reference"),
    "a newline behind an image": ({"image": f"{IMAGE}\n"}, "invalid reference"),
    "a file and a folder of one name": (
        shell("true", inputs={"a": utf8("1"), "a/b": utf8("2")}),
        "can't be written",
    ),
    "a name that no disk takes": (shell("true", inputs={"a" * 300: utf8("")}), "name too long"),
    "the folder itself": (shell("true", inputs={".": utf8("")}), "segments"),
    "the root as a config file": (shell("true", configFiles={"/": utf8("")}), "segments"),
    "a config file below a program": (
        shell("true", configFiles={"/bin/sh/x": utf8("")}),
        "not a directory",
    ),
    "a config file for the engine's own": (
        shell("true", configFiles={"/sbin/docker-init": utf8("#!/bin/sh")}),
        "permission denied",
    ),
    "less memory than a program can start in": (
        shell("true", requirements={"memory": "1m"}),
        "memory limit",
    ),
}


async def test_odd_definitions_end_with_a_sentence_and_without_our_paths(grid: Grid) -> None:
    results = await asyncio.gather(*(grid.run(definition) for definition, _ in ODD.values()))
    for (case, (_, words)), result in zip(ODD.items(), results, strict=True):
        assert result["reason"] == "Error", (case, result)
        assert words in result["error"].lower(), (case, result)
        assert str(grid.worker.data) not in json.dumps(result), (case, result)


async def test_a_build_that_no_disk_could_hold_is_the_jobs_own_fault(grid: Grid) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("Dockerfile"))
    context = f"{grid.api.url}/f/{await grid.put(packed.getvalue())}"
    result = await grid.run({"build": {"context": context, "buildContext": "a" * 300}})
    assert result["reason"] == "Error"
    assert "name too long" in result["error"].lower(), result


async def test_odd_words_that_are_allowed_stay_words(grid: Grid) -> None:
    """Too large for the system's own bound is the program's end, with what the system says."""
    huge = {"image": IMAGE, "command": "echo " + "x" * 300_000}
    names = {"a\nb\x1b[2J": utf8("1"), "e\u0301": utf8("2"), "\u00e9": utf8("3"), "A": utf8("4")}
    many, no_space, names_said, equals = await asyncio.gather(
        grid.said(shell("env | wc -c", env={f"A{n}": "x" * 50 for n in range(9_000)})),
        grid.said(shell("pwd", workdir="/a: no space left on device")),
        grid.said(shell("cat /inputs/* | wc -c", inputs={**names, "a": utf8("5")})),
        grid.said(shell("env | grep ^A=", env={"A=B": "x\ny"})),
    )
    assert int(many) > 9_000 * 50
    assert no_space == "/a: no space left on device\n"
    assert int(names_said) == 5
    assert equals == "A=B=x\n"
    result = await grid.run(huge)
    assert result["StatusCode"] != 0
    assert "argument list too long" in str(await grid.log(result["job"]))


async def test_memory_that_nobody_asked_for_is_bounded_all_the_same(grid: Grid) -> None:
    """By what the worker gives in all, shared memory included, however much of that is asked."""
    shm = shell("dd if=/dev/zero of=/dev/shm/x bs=1M count=500; echo $?", shmSize="100000g")
    plain = shell("head -c 500m /dev/zero | tail -c 499m | wc -c")
    for result in await asyncio.gather(grid.run(shm), grid.run(plain)):
        log = "".join(line[0] for line in await grid.log(result["job"]))
        assert "524288000" not in log
        assert "523239424" not in log, log


async def test_more_inputs_than_are_allowed_are_refused_at_once(grid: Grid) -> None:
    definition = shell("true", inputs={f"i{n}": utf8("") for n in range(10_000)})
    url = f"{grid.api.url}/q/{grid.queue}"
    async with grid.api.session.post(url, json={"definition": definition}) as answer:
        said = await answer.text()
        assert (answer.status, "10000 files; 4096 are allowed" in said) == (400, True), said


async def test_outputs_of_odd_names_and_kinds(grid: Grid) -> None:
    script = """
    cd /outputs; mkfifo pipe; ln -s /etc/passwd link; ln -s . loop; mkdir -p "a b/..." empty
    nc -l -p 1 -s local:/outputs/socket 2>/dev/null & mknod device c 1 3 2>/dev/null
    echo 1 >"$(printf 'new\\nline')"; echo 2 >"$(printf '\\377')"; echo 3 >"$(printf 'a\\\\b')"
    echo 4 >"$(printf '\\033[2J')"; echo 5 >.hidden; echo 6 >"a b/.../f"; echo 7 >"-rf"
    """
    result = await grid.run(shell(script))
    names = {"new\nline", "\x1b[2J", ".hidden", "a b/.../f", "-rf"}
    assert (result["reason"], set(result["outputs"])) == ("Success", names), result
    told = "".join(line[0] for line in result["logs"])
    for word in ("'pipe'", "'link'", "'loop'", "surrogate", "backslash"):
        assert word in told, result["logs"]


async def test_trees_that_are_too_deep_or_too_large_end_with_a_sentence_and_go(grid: Grid) -> None:
    """What a recursive removal can't do would stay, and hold up the worker's next start."""
    deep = shell("cd /outputs; mkdir -p $(yes d/ | head -n 1800 | tr -d '\\n'); find | wc -l")
    many = shell("cd /outputs; seq 1 10001 | xargs touch")
    links = shell("cd /outputs; seq 1 500 | xargs -n 1 ln -s x; ls | wc -l")
    deep_result, many_result, links_result = await asyncio.gather(
        grid.run(deep), grid.run(many), grid.run(links)
    )
    assert deep_result["reason"] == "Success", deep_result
    assert deep_result["logs"][0][0] == "1801\n"
    assert many_result["reason"] == "Error"
    assert "more than 10000 output files" in many_result["error"]
    assert links_result["outputs"] == {}
    assert len(links_result["logs"]) == 1 + 21
    assert "more outputs were left out" in links_result["logs"][-1][0]


async def test_floods_cost_neither_the_worker_nor_its_other_jobs(grid: Grid) -> None:
    """An endless line, and both streams at once as fast as they go."""
    line = shell("yes | tr -d '\\n'")
    both = shell("yes out & yes err >&2")
    flooding = [await grid.submit(one) for one in (line, both)]
    for job in flooding:

        async def printed(job: str = job) -> bool:
            return bool(await grid.log(job))

        await until(printed, grid.worker.said)
    ends = time.monotonic() + 2
    largest = 0
    while time.monotonic() < ends:
        assert await grid.said(shell("echo small")) == "small\n"
        largest = max(largest, _resident_bytes(grid.worker.pid))
    assert largest < WORKER_BYTES_MAX
    for job in flooding:
        view = await grid.api.job(job, grid.queue)
        assert view is not None
        assert (view["state"], view["attempt"]) == ("Running", 1)
        assert all(len(entry[0]) <= 64 << 10 for entry in await grid.log(job))
        await grid.cancel(job)
    streams = {tuple(entry[2:]) for entry in await grid.log(flooding[1])}
    assert streams == {(), (True,)}


def _resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    [kilobytes] = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) << 10


async def test_bytes_that_are_no_text_arrive_as_text(grid: Grid) -> None:
    said = await grid.said(shell(r"printf '\377\376\033[2J\r\n\000\342\200\256x\n\355\240\200\n'"))
    assert said == "\ufffd\ufffd\x1b[2J\r\n\0\u202ex\n\ufffd\ufffd\ufffd\n"


async def test_the_same_input_is_fetched_once_and_can_not_be_poisoned(grid: Grid) -> None:
    data = b"input " * 100_000
    gets = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal gets
        gets += 1
        return web.Response(body=data)

    app = web.Application()
    app.router.add_get("/data", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/data"
        key = await grid.put(data)
        file = {"type": "url", "value": url, "hash": key}
        poison = """
        for way in "echo x >" "echo x >>" "rm -f" "chmod 777" "ln -t /outputs" "mv -t /tmp"; do
            eval "$way /inputs/file" 2>/dev/null && echo "$way"
        done; sha256sum </inputs/file"""
        for script in (poison, "sha256sum </inputs/file", poison):
            assert await grid.said(shell(script, inputs={"file": file})) == f"{key}  -\n"
        assert gets == 1
    finally:
        await runner.cleanup()


async def test_a_job_that_asks_for_more_than_there_is_waits_and_is_told_why(grid: Grid) -> None:
    asked = {
        "cpus": (9, "has 8 cpus; 9 are asked for"),
        "memory": ("97m", "has 96 MiB of memory; 97 MiB are asked for"),
        "gpus": (1, "has 0 gpus; 1 are asked for"),
        "maxDuration": ("1h", "allows 5m a run; 1h are asked for"),
    }
    for name, (value, words) in asked.items():
        job = await grid.submit(shell("true", requirements={name: value}))
        await grid.explained(job, words)
        await grid.cancel(job)
    assert await grid.said(shell("echo on", requirements={"cpus": 8, "memory": "96m"})) == "on\n"
