"""What only BuildKit builds, here-documents, and what BuildKit must not be told."""

import contextlib
import time

import pytest

from gridd_worker.images.dockerfile import Base, bases, check_fetches
from gridd_worker.images.dockerfile_buildkit import (
    Need,
    automatic_arguments,
    check_buildkit,
    check_classic,
    declared,
    needs,
)
from gridd_worker.images.dockerfile_lines import heredocs_are_certain
from gridd_worker.images.error import ImageError

PYTHON = "FROM a\nRUN python3 - <<EOF\nfrom os import path\nFROM b\nEOF\nFROM c\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("RUN --mount=type=cache,target=/c make", [Need("RUN --mount", 2)]),
        ("RUN --network=none \\\n make", [Need("RUN --network", 2, recent=True)]),
        ("COPY --chmod=755 --chown=1 a /a", [Need("COPY --chmod", 2)]),
        ("COPY --from=x --link a /a", [Need("COPY --link", 2, recent=True)]),
        ("ADD --checksum=sha256:0 a /a", [Need("ADD --checksum", 2, recent=True)]),
        ("\n# no\nRUN <<EOF\nmake\nEOF", [Need("a here-document in RUN", 4, recent=True)]),
        ("COPY <<-'E.F' /a\nx\n\tE.F", [Need("a here-document in COPY", 2, recent=True)]),
        ("FROM --platform=$BUILDPLATFORM x", [Need("$BUILDPLATFORM in FROM", 2)]),
        ("FROM x-${TARGETARCH}", [Need("$TARGETARCH in FROM", 2)]),
        ("RUN <<A cat <<B\nRUN --mount=x y\nA\nB\nRUN --x", [
            Need("a here-document in RUN", 2, recent=True), Need("RUN --x", 6, recent=True)]),
        ("COPY --from=x --chown=1 a /a", []),
        ("RUN echo --mount", []),
        ("RUN echo $((1 <<3)) && cat <<<EOF\nEOF", []),
        ("RUN cat <<EOF", []),  # without its end it is none
        ("CMD --mount", []),
    ],
)  # fmt: skip
def test_what_the_classic_builder_can_not_build(line, found):
    assert needs(f"FROM a\n{line}\n") == found


def test_a_declared_platform_is_the_authors_own():
    assert needs("ARG TARGETARCH=x\nFROM a-$TARGETARCH\n") == []


def test_the_refusal_names_the_line_and_who_can_help():
    with pytest.raises(ImageError) as caught:
        check_classic("FROM a\n\nRUN --mount=type=cache,target=/c make\n")
    assert str(caught.value) == (
        "this Dockerfile uses RUN --mount (line 3), which needs BuildKit: the worker's owner can"
        " allow it with --builder auto"
    )


def test_a_here_document_is_no_instructions():
    assert bases(PYTHON, {}, heredocs=True) == [Base("a"), Base("c")]
    assert bases(PYTHON, {}) == [Base("a"), Base("os"), Base("b"), Base("c")]


@pytest.mark.parametrize(
    "before", ['RUN echo "', "RUN echo '", "RUN x$(", "RUN echo \\\\", "RUN ${X:-", "RUN # "]
)
def test_a_here_document_that_might_be_none_hides_no_image(before):
    """The engine would start from ``evil``, which was never looked at."""
    text = f"FROM a\n{before} <<EOF x\nFROM evil\nRUN echo \\\nEOF\n"
    assert not heredocs_are_certain(text)
    with pytest.raises(ImageError, match="write <<WORD before"):
        bases(text, {}, heredocs=True)
    harmless = f"FROM a\n{before} <<EOF x\necho 1\nEOF\n"
    assert bases(harmless, {}, heredocs=True) == [Base("a")]


def test_images_that_are_copied_from_or_mounted():
    text = (
        "FROM a AS one\nCOPY --from=x:1 /a /a\nCOPY --from=ONE --chown=1 /a /a\nCOPY --from=0 a b\n"
        "RUN --mount=type=bind,from=y/z,target=/z --mount=type=cache,target=/c cat --from=no\n"
        "COPY --from=$never a b\nFROM b AS two\nCOPY --from=late /a /a\n"
    )
    found = [Base("a"), Base("x:1"), Base("y/z")]
    assert bases(text, {}, "one") == found
    assert bases(text, {}) == [*found, Base("b"), Base("late")]


def test_arguments_that_buildkit_has_by_itself():
    automatic = automatic_arguments("linux/amd64", "linux/arm64/v8")
    text = "FROM --platform=$BUILDPLATFORM a\nFROM b-${TARGETARCH}${TARGETVARIANT}"
    found = [Base("a", "linux/amd64"), Base("b-arm64v8")]
    assert bases(text, {}, automatic=automatic) == found
    given = bases("FROM a-$TARGETARCH", {"TARGETARCH": "own"}, automatic=automatic)
    assert given == [Base("a-own")]
    assert automatic_arguments("linux/amd64", "ARM64")["TARGETPLATFORM"] == "linux/arm64"
    assert declared("FROM a\nARG TARGETOS\nARG TARGETARCH=x", automatic) == {"TARGETOS"}


@pytest.mark.parametrize(
    ("head", "image"),
    [
        ("", None),
        ("# syntax=docker/dockerfile:1\n", "docker/dockerfile:1"),
        ("# escape=`\n#  SYNTAX = docker.io/docker/dockerfile:1.7-labs \n",
         "docker.io/docker/dockerfile:1.7-labs"),
        ("FROM x\n# syntax=evil/frontend\n", None),
    ],
)  # fmt: skip
def test_who_reads_the_dockerfile(head, image):
    assert check_buildkit(f"{head}FROM a\n", {}, recent=True) == image


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil/frontend\nFROM a\n",
        "\ufeff\n#syntax=evil/frontend cmd\nFROM a\n",
        "// syntax=evil/frontend\nFROM a\n",
        "#!/usr/bin/x\n# syntax = evil/frontend\nFROM a\n",
        "# syntax=docker/dockerfile:1\n# syntax=evil/frontend\nFROM a\n",
        "# syntax=docker/dockerfile-upstream:master\nFROM a\n",
        "# syntax=evil.test/docker/dockerfile:1\nFROM a\n",
    ],
)
def test_no_other_program_acts_in_the_engines_name(text):
    with pytest.raises(ImageError, match="only docker/dockerfile is allowed"):
        check_buildkit(text, {}, recent=True)


@pytest.mark.parametrize("head", ["", "\ufeff ", "#!x\n"])
def test_no_other_way_to_name_such_a_program(head):
    with pytest.raises(ImageError, match="brace"):
        check_buildkit(f'{head}{{"syntax": "evil/frontend"}}', {}, recent=True)
    with pytest.raises(ImageError, match="BUILDKIT_SYNTAX"):
        check_buildkit("FROM a", {"BUILDKIT_SYNTAX": "evil/frontend"}, recent=True)


def test_a_reader_that_knows_no_here_documents_gets_none():
    """It would read them as instructions, which we did not."""
    for tag in ("1.0", "1.3", "1.3.1", "1.0-experimental", "1@sha256:" + "0" * 64, "experimental"):
        with pytest.raises(ImageError, match=r"1\.4 or later"):
            check_buildkit(f"# syntax=docker/dockerfile:{tag}\n{PYTHON}", {}, recent=True)
    for tag in ("1", "1.4", "1.10.0", "1-labs", "latest"):
        check_buildkit(f"# syntax=docker/dockerfile:{tag}\n{PYTHON}", {}, recent=False)
    check_buildkit(PYTHON, {}, recent=True)
    with pytest.raises(ImageError, match=r"here-document in RUN \(line 2\).* on the first line"):
        check_buildkit(PYTHON, {}, recent=False)


@pytest.mark.parametrize(
    "text",
    [
        "RUN <<'E\\'\nE\\\nAD\\\nD http://169.254.169.254/ /x",
        "RUN <<E\nx\\\nE\nADD http://h.test /x",
        "RUN x \\\nONBUILD ADD http://h.test /x",
        "ADD a \\\nADD [\"http:\\u002f/h.test\", \"/x\"]",
        "ADD git://h.test/x /x",
        "ADD git@h.test:a/b.git /x",
        "ADD --keep-git-dir s3://b/x /x",
    ],
)  # fmt: skip
def test_an_address_behind_a_here_document_is_found_too(text):
    with pytest.raises(ImageError, match="past the rules"):
        check_fetches(f"FROM a\n{text}\n")


@pytest.mark.parametrize("piece", ["ADD x \\\n", "\\\n", "ONBUILD \\\n", " \\\n\n# c\n", "A\\\n"])
def test_an_evil_file_takes_no_evil_time(piece):
    began = time.monotonic()
    text = piece * (300_000 // len(piece))
    with contextlib.suppress(ImageError):
        check_fetches(text)
    needs(text)
    assert time.monotonic() - began < 5
