"""What the worker reads in a Dockerfile, and what ``.dockerignore`` leaves out."""

import time

import pytest

from gridd_worker.images.dockerfile import Base, bases, check_fetches
from gridd_worker.images.dockerignore import read_rules
from gridd_worker.images.error import ImageError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM a:1\nRUN x\n", [Base("a:1")]),
        ("from a AS one\nFROM b as Two\nFROM one\nFROM TWO\nFROM a\n", [Base("a"), Base("b")]),
        ("FROM scratch\nFROM --platform=linux/arm64 x/y", [Base("x/y", "linux/arm64")]),
        ("ARG B=a:1\nFROM $B\n", [Base("a:1")]),
        ("ARG V=1\nARG B=a:${V}\nFROM ${B}-x", [Base("a:1-x")]),
        ("ARG GIVEN=a\nFROM ${GIVEN}", [Base("given")]),
        ("ARG GIVEN\nFROM ${NONE:-d}${GIVEN:+-e}", [Base("d-e")]),
        ("FROM \\\n # comment\n\n  a\\\n:2\n", [Base("a:2")]),
        ("# escape=`\nFROM `\na\nRUN dir c:\\\nFROM b\n", [Base("a"), Base("b")]),
        ("FROM a\nARG B=x\nRUN echo \\\nFROM y\n", [Base("a")]),
        ("\ufeffFROM a\r\nRUN x \\\r\nFROM b\r\n", [Base("a")]),
    ],
)
def test_images_that_a_build_starts_from(text, found):
    assert bases(text, {"GIVEN": "given"}) == found


def test_stages_after_the_target_are_not_looked_at():
    text = "FROM a AS One\nFROM b\nFROM $none"
    assert bases(text, {}, "one") == [Base("a")]
    assert bases(text, {}, "1") == [Base("a"), Base("b")]
    with pytest.raises(ImageError):
        bases(text, {})


@pytest.mark.parametrize(
    "text", ["FROM", "FROM $NONE", "FROM ${A%x}", 'FROM a"b', "FROM a\nRUN x\\\\\nFROM b"]
)
def test_images_that_can_not_be_made_out(text):
    with pytest.raises(ImageError):
        bases(text, {})


METADATA = "http://169.254.169.254/latest"


@pytest.mark.parametrize(
    "text",
    [
        f"ADD {METADATA} /x",
        f"add --chown=1 {METADATA} /x",
        f'ADD ["{METADATA}", "/x"]',
        'ADD ["http:\\u002f/169.254.169.254", "/x"]',
        f"ONBUILD ADD {METADATA} /x",
        "ADD local https://h.test/x /y",
        "ADD ht\\\ntp://h.test/x /y",
        "# escape=`\nADD ht`\ntp://h.test/x /y",
        'ADD h"tt"p://h.test/x /y',
        "ADD h\\ttp://h.test/x /y",
        "ADD HTTP://h.test/x /y",
        "ADD $URL /y",
        "ADD ht${T}p://h.test /y",
        "ADD http:${S}/h.test /y",
        'ADD ["$URL", "/y"]',
        "RUN x \\\\\nADD http://h.test /y",
        "RUN x \\\x0c\nADD http://h.test /y",
    ],
)
def test_what_the_engine_would_fetch_in_its_own_name(text):
    with pytest.raises(ImageError, match="past the rules"):
        check_fetches(f"FROM a\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "ADD app.tar.gz $HOME/", "ADD dir/${V}.jar /x", "COPY $X /x", "RUN curl http://h.test/",
        "# ADD http://h.test /x", "ADD --chown=$U a b", "ADD a http", 'ADD ["a", "$B"]', "ADD",
    ],
)  # fmt: skip
def test_what_stays_allowed(text):
    check_fetches(f"FROM a\n{text}\n")


# --- .dockerignore ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("node_modules\n", ["node_modules", "node_modules/a/b"], ["x/node_modules", "node"]),
        ("**/*.log", ["a.log", "x/y/a.log"], ["log", "a.logs"]),
        ("**.log", ["a.log", "x/y/a.log"], ["a.logs"]),
        ("*/b*", ["a/b", "a/bc/d"], ["b", "a/c/b"]),
        ("a/**/z", ["a/z", "a/b/c/z", "a/z/k"], ["a", "a/b", "z"]),
        ("*\n!keep\n!keep/*.c\nkeep/x.c", ["a", "keep/x.c"], ["keep", "keep/y.c"]),
        ("# no\n\n  /lead/  \n./dot", ["lead", "lead/a", "dot"], ["# no", "x/lead"]),
        ("[a-c]?.t[!x]t\n\\*", ["bz.t!t", "bz.txt", "*"], ["dz.txt", "x", "a.txt"]),
        ("[^a]b", ["cb"], ["ab"]),
        ("**", ["a", "a/b"], []),
        ("[half\n.", [], ["half", "h", "[hal", "a"]),
    ],
)
def test_patterns(text, ignored, kept):
    rules = read_rules(text)
    assert [path for path in ignored if not rules.ignores(path)] == []
    assert [path for path in kept if rules.ignores(path)] == []


def test_bounds_of_patterns():
    with pytest.raises(ImageError, match="500 patterns"):
        read_rules("a\n" * 501)
    with pytest.raises(ImageError, match="251 characters"):
        read_rules("a" * 251)


def test_an_evil_pattern_takes_no_evil_time():
    rules = read_rules("**/" + "*a" * 60 + "b\n" + "**/a*" * 40)
    began = time.monotonic()
    assert not rules.ignores("/".join(["a" * 200] * 10))
    assert time.monotonic() - began < 2
