"""Job documents, lists and logs (WIRE 1.4, 1.5, 1.7), and the page at the same addresses."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from gridd.grid import LogPage
from gridd_protocol.messages import LogLine

UNKNOWN = "0" * 64
RAW = b'{"image":"a","mine":{"z":1.50,"a":[1e3,"\\u00fc"]},  "v": 2}'
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("family", ["/q/q1/j/", "/j/"])
async def test_documents_of_a_waiting_job(server: Any, family: str) -> None:
    job = server.grid.put(RAW)
    definition = await server("GET", f"{family}{job}/definition.json")
    assert await definition.read() == b'{"data":' + RAW + b"}", "the bytes as they were sent"
    for name in ("result.json", "results.json"):
        assert await (await server("GET", f"{family}{job}/{name}")).json() == {"data": None}
    whole = await server("GET", f"{family}{job}" + (".json" if family == "/j/" else ""))
    assert await whole.json() == {"data": {"definition": json.loads(RAW)}}


@pytest.mark.parametrize("family", ["/q/q1/j/", "/j/"])
async def test_documents_of_a_finished_job(server: Any, family: str) -> None:
    job = server.grid.put(RAW, result={"StatusCode": 0})
    finished = server.grid.queues["q1"][job].finished
    for name in ("result.json", "results.json"):
        answer = await server("GET", f"{family}{job}/{name}")
        assert await answer.read() == b'{"data":' + finished + b"}"
    whole = await server("GET", f"{family}{job}" + (".json" if family == "/j/" else ""))
    assert (await whole.json())["data"]["results"]["finished"]["result"] == {"StatusCode": 0}


async def test_documents_of_an_unknown_job(server: Any) -> None:
    for family in ("/q/q1/j/", "/j/"):
        for name in ("definition.json", "result.json", "results.json"):
            answer = await server("GET", f"{family}{UNKNOWN}/{name}")
            assert (answer.status, await answer.json()) == (200, {"data": None})
    for path in (f"/j/{UNKNOWN}.json", f"/q/q1/j/{UNKNOWN}"):
        answer = await server("GET", path)
        assert answer.status == 404
        assert await answer.json() == {"error": "Job not found", "code": "not-found"}
    names = await server("GET", f"/q/q1/j/{UNKNOWN}/namespaces.json")
    assert (names.status, await names.json()) == (200, {"data": []})


async def test_a_job_is_looked_for_in_its_queue(server: Any) -> None:
    job = server.grid.put(RAW, queue="elsewhere")
    answer = await server("GET", f"/q/q1/j/{job}/definition.json")
    assert await answer.json() == {"data": None}


async def test_namespaces(server: Any) -> None:
    job = server.grid.put(RAW, namespaces=("b", "_", "a"))
    answer = await server("GET", f"/q/q1/j/{job}/namespaces.json")
    assert await answer.json() == {"data": ["_", "a", "b"]}


@pytest.mark.parametrize("path", ["/q/q1", "/q/q1/j"])
async def test_the_list(server: Any, path: str) -> None:
    assert await (await server("GET", path)).json() == {"data": {}}
    job = server.grid.put(RAW, worker="w", state="Running", attempt=1)
    listed = (await (await server("GET", path)).json())["data"][job]
    assert listed == {
        "state": "Running",
        "queuedTime": 1_700_000_000_000,
        "time": 1_700_000_000_001,
        "worker": "w",
        "namespaces": ["_"],
        "attempt": 1,
    }


async def test_the_list_of_what_ended(server: Any) -> None:
    server.grid.put(RAW)
    jobs = [server.grid.put({"image": name}, result={}) for name in "ab"]
    answer = await server("GET", "/q/q1/ended.json")
    assert list((await answer.json())["data"]) == jobs[::-1], "the last first"
    assert await (await server("GET", "/q/q2/ended.json")).json() == {"data": {}}


async def test_result_for_upstreams_command_line(server: Any) -> None:
    job = server.grid.put(RAW, result={"outputs": {"a": {"type": "utf8", "value": "x"}}})
    answer = await (await server("GET", f"/q1/j/{job}/result.json")).json()
    assert answer["result"]["outputs"]["a"]["value"] == "x"
    assert answer["data"]["finished"]["result"] == answer["result"]
    unknown = await server("GET", f"/q1/j/{UNKNOWN}/result.json")
    assert (unknown.status, await unknown.json()) == (200, {"data": None})


@pytest.mark.parametrize(
    ("since", "first"),
    [("", 0), ("2", 2), ("-1", 0), ("1.9", 1), ("1e0", 1), ("0x2", 2), ("%202%20", 2), ("9", 9),
     ("-Infinity", 0), ("Infinity", 1 << 53), (".5", 0), ("1e999", 1 << 53), ("+2", 2)],
)  # fmt: skip
async def test_log_cursors(server: Any, since: str, first: int) -> None:
    job = server.grid.put(RAW)
    held = server.grid.queues["q1"][job]
    held.run[:] = [LogLine("a\n", 1), LogLine("b\n", 2, True), LogLine("c\n", 3)]
    lines = [["a\n", 1], ["b\n", 2, True], ["c\n", 3]]
    for family in ("/q/q1/j/", "/j/"):
        answer = await server(
            "GET", f"{family}{job}/run-logs.json?since={since.replace('+', '%2B')}"
        )
        assert (answer.status, await answer.json()) == (
            200,
            {"data": lines[first:], "sliceStart": first, "nextCursor": 3, "isFinal": False},
        )


@pytest.mark.parametrize("since", ["x", "1_0", "inf", "0x", "1e", "%D9%A3", "--1", "1,5", "NaN"])
async def test_log_cursors_that_are_no_number(server: Any, since: str) -> None:
    answer = await server("GET", f"/j/{UNKNOWN}/run-logs.json?since={since}")
    assert answer.status == 400
    assert (await answer.json())["error"] == "`since` must be a number"


async def test_build_and_run_logs_are_apart(server: Any) -> None:
    job = server.grid.put(RAW, result={})
    server.grid.queues["q1"][job].build[:] = [LogLine("Step 1\n", 1)]
    build = await (await server("GET", f"/j/{job}/build-logs.json")).json()
    run = await (await server("GET", f"/j/{job}/run-logs.json")).json()
    assert build == {"data": [["Step 1\n", 1]], "sliceStart": 0, "nextCursor": 1, "isFinal": True}
    assert run["data"] == []


async def test_a_build_log_tells_its_steps(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = server.grid.put(RAW, result={})
    steps = [(0, "docker image pull"), (7, "docker build")]

    async def logs(*_: Any) -> LogPage:
        return LogPage([], 0, 9, True, steps=steps)

    monkeypatch.setattr(server.grid, "logs", logs)
    told = await (await server("GET", f"/j/{job}/build-logs.json?since=9")).json()
    assert told["steps"] == [list(step) for step in steps]


async def test_logs_of_an_unknown_job(server: Any) -> None:
    answer = await server("GET", f"/q/q1/j/{UNKNOWN}/run-logs.json")
    assert await answer.json() == {
        "data": [], "sliceStart": 0, "nextCursor": 0, "isFinal": False
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/", f"/j/{UNKNOWN}", "/q/q1"])
async def test_a_browser_gets_a_page(server: Any, path: str) -> None:
    answer = await server("GET", path, headers=BROWSER)
    text = await answer.text()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=UTF-8")
    assert f"curl http://127.0.0.1:{server.port}/q/my-queue" in text
    assert answer.headers["Vary"] == "Accept"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in text
    assert "src=" not in text


async def test_a_list_is_still_a_list_for_programs(server: Any) -> None:
    for accept in ("*/*", "application/json"):
        answer = await server("GET", "/q/q1", headers={"Accept": accept})
        assert await answer.json() == {"data": {}}


async def test_a_host_can_not_write_into_the_page(server: Any) -> None:
    answer = await server("GET", "/", headers={"Host": "x<img>"})
    assert "<img>" not in await answer.text()


async def test_the_public_url_stands_in_the_page(start: Callable[..., Any]) -> None:
    server = await start(public_url="https://grid.example")
    assert "curl https://grid.example/q/my-queue" in await (await server("GET", "/")).text()


async def test_head_is_get_without_a_body(server: Any) -> None:
    job = server.grid.put(RAW)
    answer = await server("HEAD", f"/j/{job}/definition.json")
    assert (answer.status, await answer.read()) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(RAW) + len(b'{"data":}'))


@pytest.mark.parametrize("family", ["/q/q1/j/", "/j/"])
async def test_the_status_of_a_result_says_how_far_the_job_is(server: Any, family: str) -> None:
    async def asked(job: str) -> tuple[int, Any]:
        answer = await server("GET", f"{family}{job}/result")
        return answer.status, await answer.json()

    waiting = server.grid.put({"image": "a"})
    status, body = await asked(waiting)
    assert (status, body["data"]["state"], body["data"]["namespaces"]) == (202, "Queued", ["_"])
    running = server.grid.put({"image": "b"}, state="Running", worker="w", attempt=1)
    status, body = await asked(running)
    assert (status, body["data"]["state"], body["data"]["worker"]) == (202, "Running", "w")
    finished = server.grid.put({"image": "c"}, result={"StatusCode": 0})
    status, body = await asked(finished)
    assert (status, body["data"]["finished"]["result"]) == (200, {"StatusCode": 0})
    cancelled = server.grid.put({"image": "d"}, state="Finished", finished_reason="Cancelled")
    status, body = await asked(cancelled)
    assert (status, body["data"]["finishedReason"]) == (200, "Cancelled")
    assert await asked(UNKNOWN) == (404, {"error": "Job not found", "code": "not-found"})


async def test_an_expired_job_is_gone_and_not_unknown(server: Any) -> None:
    server.grid.gone = {("q1", UNKNOWN): 17, (None, UNKNOWN): 17}
    for path in ("/q/q1/j/{}", "/j/{}.json", "/q/q1/j/{}/result", "/j/{}/result"):
        answer = await server("GET", path.format(UNKNOWN))
        body = await answer.json()
        assert (answer.status, body["code"], body["job"]) == (410, "gone", UNKNOWN), path
        assert body["expiredTime"] == 17
        assert UNKNOWN in body["error"]
    for name in ("definition.json", "result.json", "results.json"):
        upstream_shaped = await server("GET", f"/q/q1/j/{UNKNOWN}/{name}")
        assert await upstream_shaped.json() == {"data": None}
    elsewhere = await server("GET", f"/q/q2/j/{UNKNOWN}")
    assert elsewhere.status == 404


async def test_a_document_is_200_from_submission_on(server: Any) -> None:
    """Upstream's tests ask for that (WIRE 9.5)."""
    waiting = server.grid.put({"image": "a"})
    for path in (f"/q/q1/j/{waiting}", f"/j/{waiting}.json"):
        assert (await server("GET", path)).status == 200


async def test_the_words_for_people(server: Any) -> None:
    """``/docs`` is upstream's way to its own (WIRE 1.13)."""
    moved = await server("GET", "/docs")
    assert (moved.status, moved.headers["Location"]) == (301, "/docs/")
    answer = await server("GET", "/docs/", headers={"Host": "grid.example"})
    page = await answer.text()
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "http://grid.example/q/my-queue" in page
    assert "{{" not in page
    assert "script" not in answer.headers["Content-Security-Policy"]
    for link in re.findall(r'href="([^"]+)"', page):
        assert (await server("GET", link)).status == 200
    assert (await server("GET", "/docs/nothing")).status == 404
