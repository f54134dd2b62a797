"""What the engine tells of a pull or a build, as lines; and which images a build's output names."""

import pytest

from gridd_protocol.definitions import Build
from gridd_protocol.messages import LogLine
from gridd_worker.images import progress as docker_progress
from gridd_worker.images.build import Steps, built_name
from gridd_worker.images.images import _is_for, with_tag
from gridd_worker.images.progress import Progress


class Ear:
    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def __call__(self, step, lines) -> None:
        self.lines += lines

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


def bar(layer: str, status: str, shown: str = "") -> dict:
    return {"id": layer, "status": status, "progress": shown, "progressDetail": {"current": 1}}


def test_a_bar_goes_out_now_and_then(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(docker_progress.time, "monotonic", lambda: clock[0])
    ear = Ear()
    progress = Progress("docker image pull", ear)
    for number in range(100):
        progress.show(bar("a", "Downloading", f"[{number}]"))
        progress.show(bar("b", "Downloading", f"[{number}]"))
        clock[0] += 0.1
    progress.show(bar("a", "Pull complete"))
    assert len(ear.texts) == 2 * 4 + 1
    assert ear.texts[0] == "a: Downloading [0]"
    assert ear.texts[-1] == "a: Pull complete"


def test_lines_are_bounded_but_an_error_is_always_said():
    ear = Ear()
    progress = Progress("docker image pull", ear, lines_max=10)
    for number in range(1_000):
        progress.show({"status": f"line {number}"})
    progress.show({"error": "no"})
    assert len(ear.texts) == 11
    assert ear.texts[-2:] == ["… further progress is not shown", "💥 no"]
    assert ear.lines[-1].stderr


def test_the_builders_red_is_the_error_stream():
    ear = Ear()
    progress = Progress("docker build", ear)
    progress.show({"stream": "\x1b[91moops\n\x1b[0m"})
    progress.show({"stream": "fine\n"})
    assert [(line.text, line.stderr) for line in ear.lines] == [("oops", True), ("fine", False)]


def test_steps_that_a_build_made_new():
    steps = Steps()
    for line in (
        "Step 1/4 : FROM base AS x\n", " ---> 000000000000\n",
        "Step 2/4 : RUN a\n", " ---> Using cache\n", " ---> 111111111111\n",
        "Step 3/4 : RUN b\n", " ---> Running in aaaaaaaaaaaa\n", "out\n",
        "Removing intermediate container aaaaaaaaaaaa\n", " ---> 222222222222\n",
        "Step 4/4 : COPY x y\n", "\n", " ---> 333333333333\n", "Successfully built 333333333333\n",
    ):  # fmt: skip
        steps.watch({"stream": line})
    assert steps.made == ["222222222222", "333333333333"]


def test_names_of_builds():
    build = Build(dockerfile="FROM a", build_args=["A=1"])
    assert built_name(build) == built_name(Build(dockerfile="FROM a", build_args=["A=1"]))
    others = {
        built_name(Build(dockerfile="FROM a")), built_name(Build(dockerfile="FROM b")),
        built_name(Build(dockerfile="FROM a", target="t")),
        built_name(build, "commit", "https://h.test/r.git"),
        built_name(build, "commit", "https://h.test/other.git"),
        built_name(build, "commit 2", "https://h.test/r.git"),
    }  # fmt: skip
    assert len(others | {built_name(build)}) == 7
    # how the address was written does not matter, what it led to does
    one = Build(context="https://u:t@h.test/r.git#main")
    assert built_name(one, "c", "r") == built_name(
        Build(context="https://h.test/r.git#v1"), "c", "r"
    )


@pytest.mark.parametrize(
    ("platform", "fits"),
    [
        (None, True), ("linux/arm64", True), ("linux/aarch64", True), ("linux/arm64/v8", True),
        ("linux", True), ("arm64", True), ("linux/amd64", False), ("windows", False),
        ("linux/x86_64", False),
    ],
)  # fmt: skip
def test_platforms(platform, fits):
    assert _is_for({"Os": "linux", "Architecture": "arm64"}, platform) is fits


def test_tags():
    assert with_tag("h:5000/a") == "h:5000/a:latest"
    assert with_tag("a:1") == "a:1"
    assert with_tag("a@sha256:0") == "a@sha256:0"
