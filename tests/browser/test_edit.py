"""The left side of the page: what is edited, marked, taken back, declared and passed on."""

import asyncio
import base64
import json
import os
import re
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, QUEUE, WEB, Grid, Opening, shell
from tests.browser.test_jobs import run, see_state

pytestmark = pytest.mark.asyncio(loop_scope="session")

expect.set_options(timeout=PATIENCE_MS)

CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


def parameter(page: Page, name: str) -> Any:
    """A JSON parameter of the page's address."""
    parts = urlsplit(page.url).fragment.lstrip("?").split("&")
    values = dict(part.split("=", 1) for part in parts)
    return json.loads(unquote(base64.b64decode(values[name]).decode())) if name in values else None


async def until_parameter(page: Page, name: str, expected: Any) -> None:
    """The address is written as one types; what it was last is told on failure."""
    for _ in range(100):
        if parameter(page, name) == expected:
            return
        await asyncio.sleep(0.05)
    assert parameter(page, name) == expected


async def no_serious_barrier(page: Page) -> None:
    await page.evaluate((WEB / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8"))
    found = await page.evaluate("axe.run({resultTypes: ['violations'], iframes: false})")
    serious = [it for it in found["violations"] if it["impact"] in ("serious", "critical")]
    assert [(it["id"], it["nodes"][0]["html"][:120]) for it in serious] == []


async def test_edits_are_marked_shown_with_both_sides_and_taken_back(
    grid: Grid, opened: Opening
) -> None:
    definition = {"command": "sh -c 'cat $JOB_INPUTS/a.txt'", "env": {"N": uuid.uuid4().hex}}
    page = await opened(grid.link(definition, {"a.txt": "one\ntwo\nthree\n"}))
    await run(page)
    await see_state(page, "Done")
    lines: list[str] = []
    page.on("websocket", lambda line: lines.append(line.url))
    await page.get_by_label("Contents of a.txt").fill("one\n2\nthree\n")
    changes = page.get_by_role("group", name="Changes")
    await expect(changes).to_contain_text("file a.txt")
    await expect(page.get_by_role("button", name="a.txt changed")).to_be_visible()
    await changes.get_by_role("button", name="Show both").click()
    await expect(changes.locator("del")).to_have_text(re.compile("- two"))
    await expect(changes.locator("ins")).to_have_text(re.compile(r"\+ 2"))
    await page.get_by_label("Command").fill("true")
    await expect(changes).to_contain_text("command")
    await no_serious_barrier(page)
    await changes.get_by_role("button", name="Undo").click()
    await expect(page.get_by_label("Command")).to_have_value(definition["command"])
    await changes.get_by_role("button", name="Redo").click()
    await expect(page.get_by_label("Command")).to_have_value("true")
    await changes.get_by_role("button", name="Redo").press("Control+z")
    await changes.get_by_role("button", name="Undo").press("Control+z")
    await expect(page.get_by_text("Changed since the last run")).to_have_count(0)
    await see_state(page, "Done")
    assert not lines, "an edit does not open the line to the queue anew"


async def test_an_edit_of_a_short_link_is_taken_back_to_it(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("true")))
    await run(page)
    await see_state(page, "Done")
    await page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).click()
    await see_state(page, "Done")
    short = page.url
    assert "/j/" in short
    await page.get_by_label("Command").fill("echo other")
    await expect(page).not_to_have_url(short)
    await page.get_by_role("button", name="Undo").click()
    await expect(page).to_have_url(short)
    await see_state(page, "Done")


async def test_inputs_and_outputs_are_declared_for_hosts(grid: Grid, opened: Opening) -> None:
    page = await opened(grid.link(shell("echo 1 > $JOB_OUTPUTS/table.csv"), {"run.py": "1"}))
    await run(page)
    await see_state(page, "Done")
    await page.get_by_text("Declared inputs and outputs").click()
    await page.get_by_role("button", name="Take those of the last run (1)").click()
    await page.get_by_label("Type of table.csv").fill("text/csv")
    await page.get_by_role("button", name="Declare an input").click()
    await page.get_by_label("Name of the input").fill("data.json")
    await page.get_by_label("Name of the input").press("Enter")
    await expect(page.get_by_label("Type of data.json")).to_be_visible()
    found = parameter(page, "definition")
    assert found["inputs"] == {"data.json": {}}
    assert found["outputs"] == {"table.csv": {"type": "text/csv"}}
    assert found["version"] == "2"
    assert "clipboard-write" in found["allow"]
    assert "job" in found["hashParams"]
    await see_state(page, "Done")  # it is no part of the job
    await page.get_by_role("button", name="Remove the output table.csv").click()
    await page.get_by_role("button", name="Remove the input data.json").click()
    await until_parameter(page, "definition", None)


async def test_every_setting_of_a_job_is_written_to_its_address(
    grid: Grid, opened: Opening
) -> None:
    page = await opened(grid.link({"image": "a:1", "command": "run"}))
    for summary in ("Environment", "Resources", "More"):
        await page.locator("summary").filter(has_text=re.compile(f"^{summary}")).click()
    await page.get_by_role("button", name="Add a variable").click()
    await page.get_by_label("Name of the variable").fill("API_TOKEN")
    await page.get_by_label("Name of the variable").press("Enter")
    await page.get_by_label("Value of API_TOKEN").fill("a=b")
    await expect(page.get_by_role("alert")).to_contain_text("API_TOKEN looks like a secret")
    await page.get_by_role("button", name="Add a variable").click()
    second = page.get_by_label("Name of the variable").nth(1)
    await second.fill("API_TOKEN")  # never two of one name
    await expect(second).to_have_attribute("aria-invalid", "true")
    await second.fill("B")
    await second.press("Tab")
    values = {
        "Cpus": "2", "Gpus": "1", "Memory": "4g", "Time limit": "5m", "Worker tags": "a100, fast",
        "Entrypoint": "sh", "Working directory": "/w", "Shared memory": "1g",
    }  # fmt: skip
    for label, value in values.items():
        await page.get_by_label(label, exact=True).fill(value)
    namespace = re.compile("^Namespace")
    await page.get_by_label(namespace).fill("mine")
    job = {
        "image": "a:1", "command": "run", "env": {"API_TOKEN": "a=b", "B": ""},
        "requirements": {"cpus": 2, "gpus": 1, "memory": "4g"}, "maxDuration": "5m",
        "tags": ["a100", "fast"], "entrypoint": "sh", "workdir": "/w", "shmSize": "1g",
    }  # fmt: skip
    await until_parameter(page, "job", job)
    await until_parameter(page, "control", {"namespace": "mine"})
    await no_serious_barrier(page)
    again = await opened(page.url)
    await expect(again.get_by_label(namespace)).to_have_value("mine")
    for label, value in values.items():
        shown = value.replace(",", "")
        await expect(again.get_by_label(label, exact=True)).to_have_value(shown)


async def test_inputs_have_a_size_a_kind_an_origin_and_names_that_change(
    grid: Grid, opened: Opening, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text("a,b\n" * 5_000)
    page = await opened(grid.link(shell("ls $JOB_INPUTS")))
    await page.get_by_label("Upload files as inputs").set_input_files(tmp_path / "data.csv")
    row = page.get_by_role("listitem").filter(has_text="csv")
    await expect(row).to_contain_text("20 kB · CSV table · uploaded")
    await row.get_by_role("button", name="Rename data.csv").click()
    await expect(page.get_by_label("New name of data.csv")).to_be_focused()
    await page.keyboard.type("table.csv")
    await page.keyboard.press("Enter")
    await expect(row).to_contain_text("table.csv")
    await page.get_by_label("Address of an input").fill("https://example.org/a%20b.json?x=1")
    await page.get_by_role("button", name="Add", exact=True).click()
    fetched = page.get_by_role("listitem").filter(has_text="a b.json")
    await expect(fetched).to_contain_text("from https://example.org")
    await fetched.get_by_role("button", name="Remove").click()
    await expect(fetched).to_have_count(0)
    await run(page)
    await see_state(page, "Done")
    await expect(page.get_by_role("log")).to_contain_text("table.csv")


async def copied(page: Page, name: str) -> str:
    await page.get_by_role("button", name="Share").click()
    row = page.get_by_role("listitem").filter(has=page.get_by_text(name, exact=True))
    await row.get_by_role("button").click()
    await expect(row.get_by_role("button")).to_have_text("Copied")
    await page.keyboard.press("Escape")
    return str(await page.evaluate("navigator.clipboard.readText()"))


async def done(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """What a program said, once it has ended well."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GRIDD_", "CQ_"))}
    process = await asyncio.create_subprocess_exec(
        *arguments, env=kept | (environment or {}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_what_share_copies_runs_elsewhere(
    grid: Grid, opened: Opening, tmp_path: Path
) -> None:
    """The command line and the Python: pasted, they run this very job, odd characters and all."""
    odd = "it's \"odd\"\n\ttab $HOME `x` \\ 'quotes'''"
    script = 'cat "$JOB_INPUTS/a b.txt"; echo "[$ODD]"; echo end'
    definition = {
        "command": "sh -c 'sh $JOB_INPUTS/run.sh'",
        "env": {"ODD": odd, "N": uuid.uuid4().hex},
        "requirements": {"cpus": 1, "memory": "64m"},
    }
    files = {"run.sh": script, "a b.txt": "@begins with an at\n"}
    page = await opened(grid.link(definition, files), **CLIPBOARD)
    await run(page)
    await see_state(page, "Done")
    command, program = await copied(page, "Command line"), await copied(page, "Python")

    (tmp_path / "gridd").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gridd "$@"\n')
    (tmp_path / "gridd").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "pasted.py").write_text(program)
    said = await asyncio.gather(
        done("sh", "-c", command, environment=path),
        done(sys.executable, str(tmp_path / "pasted.py")),
    )
    for words in said:
        assert "@begins with an at" in words
        assert f"[{odd}]" in words
        assert "end" in words
    assert QUEUE in command
