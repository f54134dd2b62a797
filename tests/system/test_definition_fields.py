"""Every field of a definition, from a client's submit to its result, on a real engine.

WIRE 5.1 to 5.7 and 6.6 to 6.10: a real server, a real worker, real containers. What an engine alone
can show is in ``test_docker_runtime``; images and builds are in ``test_docker_images``.
"""

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.system.support.grids import IMAGE, Grid, docker_grid, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Grid]:
    async with docker_grid(tmp_path_factory.mktemp("fields"), "fields") as grid:
        yield grid


async def test_words_environment_and_limits(grid: Grid) -> None:
    """image, command, entrypoint, env, workdir, shmSize; WIRE 6.7."""
    shown = {"image": IMAGE, "entrypoint": "sh -c 'for word; do echo \"<$word>\"; done' sh"}
    words = {
        **shown,
        "command": r"""plain 'two words' '$X' $X "in $X" e\ f ${X}y [$NONE] `tick` ~ {a,b}""",
        "env": {"X": "1"},
    }
    whole = {**shown, "command": "a && b | c *"}
    variables = shell(
        "env | grep -E '^(WORD|NUMBER|LIST|JOB_.*|CUDA.*)='",
        env={"WORD": "of mouth", "NUMBER": 5, "LIST": [1, "a"], "JOB_ID": "mine"},
    )
    own = {"build": {"dockerfile": f'FROM {IMAGE}\nWORKDIR /tmp\nCMD ["pwd"]\n'}}
    elsewhere = {**own, "workdir": "/etc", "entrypoint": "", "command": None}
    memory = "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
    sizes = {
        "8m": 8 << 10,
        "12 MB": 12 << 10,
        "0.5gb": 512 << 10,
        "1048576": 1 << 10,
        2 << 20: 2 << 10,
    }
    said = await asyncio.gather(
        *(grid.said(one) for one in (words, whole, variables, own, elsewhere)),
        *(grid.said(shell(memory, shmSize=size)) for size in sizes),
    )
    assert said[0].splitlines() == [
        *("<plain>", "<two words>", "<$X>", "<1>", "<in 1>", "<e f>", "<1y>", "<[]>"),
        *("<`tick`>", "<~>", "<{a,b}>"),
    ]
    assert said[1] == "<a && b | c *>\n"
    variable = dict(line.split("=", 1) for line in said[2].splitlines())
    url = f"{grid.api.url}/j/{variable['JOB_ID']}"
    assert len(variable["JOB_ID"]) == 64
    assert variable == {
        "WORD": "of mouth",
        "NUMBER": "5",
        "LIST": '[1,"a"]',
        "JOB_ID": variable["JOB_ID"],
        "JOB_INPUTS": "/inputs",
        "JOB_OUTPUTS": "/outputs",
        "JOB_CACHE": "/job-cache",
        "JOB_URL_PREFIX": url,
        "JOB_OUTPUTS_URL_PREFIX": f"{url}/outputs/",
        "JOB_INPUTS_URL_PREFIX": f"{url}/inputs/",
    }
    assert said[3:5] == ["/tmp\n", "/etc\n"]
    assert [int(text) for text in said[5:]] == list(sizes.values())


async def test_inputs_and_config_files_of_every_type(grid: Grid) -> None:
    """WIRE 5.1, 5.6: each type as input and as config file, nested, at absolute names too."""
    large = bytes(range(256)) * 4
    key = await grid.put(large)
    references: dict[str, dict[str, Any]] = {
        "utf8": {"type": "utf8", "value": "grüß\n"},
        "json": {"type": "json", "value": {"b": [1, None], "a": "é"}},
        "base64": {"type": "base64", "value": base64.b64encode(b"\x00\xff").decode()},
        "url": {"type": "url", "value": f"{grid.api.url}/f/{key}"},
        "hashed": {"type": "url", "value": f"{grid.api.url}/f/{key}", "hash": key},
        "key": {"type": "key", "value": key},
        "untyped": {"value": "as utf8"},
    }
    expected = {
        "utf8": "grüß\n".encode(),
        "json": '{"b":[1,null],"a":"é"}'.encode(),
        "base64": b"\x00\xff",
        "untyped": b"as utf8",
        **dict.fromkeys(("url", "hashed", "key"), large),
    }
    sums = {
        path.format(name): hashlib.sha256(data).hexdigest()
        for path in ("/inputs/{}", "/inputs/a/b/{}", "/inputs/conf/{}", "/etc/app/{}")
        for name, data in expected.items()
    }
    definition = shell(
        # A config file takes the place of an input of the same name.
        "sha256sum /etc/app/*; find /inputs -type f | xargs sha256sum; cat /inputs/both",
        inputs={
            **references,
            **{f"a/b/{name}": one for name, one in references.items()},
            "both": {"type": "utf8", "value": "input"},
        },
        configFiles={
            **{f"conf/{name}": one for name, one in references.items()},
            **{f"/etc/app/{name}": one for name, one in references.items()},
            "/inputs/both": {"type": "utf8", "value": "config"},
        },
    )
    *lines, last = (await grid.said(definition)).splitlines()
    heard = {path: digest for digest, path in (line.split() for line in lines)}
    assert heard.pop("/inputs/both") == hashlib.sha256(b"config").hexdigest()
    assert heard == sums
    assert last == "config"


async def test_outputs_small_inline_large_uploaded_and_the_cache_kept(grid: Grid) -> None:
    """WIRE 5.2, 5.3, 5.6, 5.7, and /job-cache for the next job of the queue."""
    sizes = {"empty": 0, "edge": 200, "over": 201, "deep/er/large": 70_000}
    files = "; ".join(f"yes {name} | head -c {size} > {name}" for name, size in sizes.items())
    result = await grid.run(
        shell(
            f"mkdir -p /outputs/deep/er /outputs/none; cd /outputs; {files};"
            " echo kept > /job-cache/file; exit 3"
        )
    )
    # Any exit code has outputs.
    assert (result["reason"], result["StatusCode"]) == ("Success", 3)
    outputs = result["outputs"]
    assert set(outputs) == set(sizes)
    for name, size in sizes.items():
        data = (name.encode() + b"\n") * size
        data, told = data[:size], outputs[name]
        if size <= 200:
            assert told == {"value": base64.b64encode(data).decode(), "type": "base64"}
        else:
            digest = hashlib.sha256(data).hexdigest()
            assert (told["type"], told["value"]) == ("url", f"{grid.api.url}/f/{digest}")
        url = f"{grid.api.url}/j/{result['job']}/outputs/{name}"
        async with grid.api.session.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, data)
    assert await grid.said(shell("cat /job-cache/file")) == "kept\n"
    root = {"bin", "dev", "etc", "proc", "sbin", "sys", "tmp", ".dockerenv"}
    assert set((await grid.said(shell("ls -A /"))).split()) == root | {
        *("inputs", "job-cache", "outputs")
    }


async def test_the_shape_of_the_log(grid: Grid) -> None:
    """WIRE 6.7, 6.10: entries ``[text, ms]``, with ``true`` for stderr; stdout exactly as it was
    printed; the worker's own lines in the result only."""
    script = "printf 'one\\ntwo\\r\\n'; echo wrong >&2; printf '\\ta ü  no newline'; exit 7"
    result = await grid.run(shell(script))
    log = await grid.log(result["job"])
    assert "".join(line[0] for line in log if not line[2:]) == "one\ntwo\r\n\ta ü  no newline"
    assert [line[0] for line in log if line[2:] == [True]] == ["wrong\n"]
    assert all(isinstance(line[1], int) and abs(line[1] - result["time"]) < 60_000 for line in log)
    own = ["⚠️ Container exited with status code: 7", "💥 StatusCode: 7"]
    assert [line[0] for line in result["logs"]][-2:] == own
    assert not set(own) & {line[0] for line in log}
    assert not result.get("isTimedOut")
    assert isinstance(result["duration"], int)


async def test_jobs_that_end_otherwise(grid: Grid) -> None:
    """WIRE 6.9, 6.10: each with its reason, its lines in the result and none in the log."""
    unread = {"type": "base64", "value": "%"}
    gone = {"type": "key", "value": hashlib.sha256(b"gone").hexdigest()}
    late, *failed = await asyncio.gather(
        grid.run(shell("echo up; echo x > /outputs/x; sleep 60", maxDuration="1s")),
        grid.run(shell("true", inputs={"a/bad": unread})),
        grid.run(shell("true", configFiles={"/a/bad": gone})),
        grid.run({"image": IMAGE, "command": "echo ${WORD"}),
        grid.run({"image": f"gridd-test:no-{uuid.uuid4().hex}"}),
    )
    assert (late["reason"], late["isTimedOut"]) == ("TimedOut", True)
    assert late.get("outputs", {}) == {}
    assert [line[0] for line in await grid.log(late["job"])] == ["up\n"]
    assert {"💥 Timed out", "💥 StatusCode: 137"} <= {line[0] for line in late["logs"]}
    first = (
        "💥 input 'a/bad'",
        "💥 config file '/a/bad'",
        "💥 Job Error",
        "Failure to pull or build",
    )
    for result, line in zip(failed, first, strict=True):
        assert (result["reason"], bool(result["error"])) == ("Error", True), result
        assert result["logs"][0][0].startswith(line), result
        assert result.get("outputs", {}) == {}
        assert result.get("StatusCode") is None
        assert await grid.log(result["job"]) == []
