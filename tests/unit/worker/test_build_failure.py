"""Which line a build failed on."""

import pytest

from gridd_worker.images.error import ImageError
from gridd_worker.images.failure import ClassicPlace, placed, vertex_line

TEXT = """# a comment
ARG V=1
FROM a:${V}

RUN echo one && \\
    # a comment within
    echo two
COPY $X /x
RUN make
RUN <<EOF
make
EOF
RUN make
"""


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("Step 1/6 : ARG V=1", (2, "ARG V=1")),
        ("Step 3/6 : RUN echo one &&     echo two", (5, "RUN echo one &&     echo two")),
        ("Step 5/6 : RUN make", (9, "RUN make")),
        ("Step 4/6 : RUN printed by a program", None),
        ("Step 99/6 : RUN make", None),
        ("hello", None),
    ],
)
def test_the_classic_builders_steps(step, found):
    place = ClassicPlace()
    for text in (step, "\n", " ---> 0123456789ab"):
        place.watch({"stream": text})
    assert place.line(TEXT) == found


@pytest.mark.parametrize(
    ("vertex", "found"),
    [
        ("[stage-0 2/5] RUN echo one &&     echo two", 5),
        ("[3/5] COPY value /x", 8),
        ("[4/5] RUN <<EOF (make)", 10),
        ("[2/5] RUN make", None),  # there are two of it
        ("[internal] load metadata for x", None),
        ("exporting to image", None),
    ],
)
def test_buildkits_vertices(vertex, found):
    place = vertex_line(TEXT, vertex)
    assert (place[0] if place else None) == found


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("failed to solve with frontend dockerfile.v0: failed to solve with frontend gateway.v0:"
         " rpc error: code = Unknown desc = executor failed running [/bin/sh -c x]: exit code: 2",
         "exit code 2"),
        ("failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 2",
         "exit code 2"),
        ("The command '/bin/sh -c echo 'x' &&\n make' returned a non-zero code: 137",
         "exit code 137: it was killed, most likely for want of memory"),
        ("COPY failed: no source files", "COPY failed: no source files"),
        ('failed to compute cache key: failed to calculate checksum of ref a::b: "/x": not found',
         '"/x": not found'),
    ],
)  # fmt: skip
def test_the_sentence(raw, said):
    error = placed(ImageError(raw), (9, "RUN   make"))
    assert error.building
    assert str(error) == f"line 9 of the Dockerfile ('RUN make'): {said}"


def test_the_sentence_without_a_line():
    assert str(placed(ImageError("failed to solve: no such file"), None)) == "no such file"
    long = "RUN " + "x" * 1_000
    assert len(str(placed(ImageError("no"), (1, long)))) < 250
