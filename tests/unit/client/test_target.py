"""Which grid, which queue, and links."""

import base64
import json
from urllib.parse import unquote

import pytest

from gridd.client.errors import UsageError
from gridd.client.target import Target, new_queue_name, resolve, resolve_api


@pytest.mark.parametrize(
    ("api", "queue", "environ", "expected"),
    [
        (None, None, {}, ("http://127.0.0.1:8000", "local")),
        (None, None, {"CQ_API": "http://c", "CQ_QUEUE": "cq"}, ("http://c", "cq")),
        (
            None,
            None,
            {"CQ_API": "http://c", "GRIDD_API": "http://g/", "GRIDD_QUEUE": "gq", "CQ_QUEUE": "cq"},
            ("http://g", "gq"),
        ),
        ("http://o", "oq", {"GRIDD_API": "http://g", "GRIDD_QUEUE": "gq"}, ("http://o", "oq")),
        ("http://localhost:9/base/", None, {}, ("http://localhost:9/base", "local")),
    ],
)
def test_option_over_gridd_over_cq_over_default(api, queue, environ, expected):
    target = resolve(api, queue, environ)
    assert (target.api, target.queue) == expected


def test_a_grid_elsewhere_needs_a_queue():
    with pytest.raises(UsageError, match="gridd queue new"):
        resolve("https://grid.example", None, {})


@pytest.mark.parametrize("api", ["grid.example", "ftp://x", "http://", "http://x?y", "http://x#y"])
def test_what_is_no_grid(api):
    with pytest.raises(UsageError, match="is not a grid's URL"):
        resolve_api(api, {})


def test_a_queue_name_has_a_bound():
    with pytest.raises(UsageError, match="128 bytes"):
        resolve(None, "é" * 65, {})


def test_links():
    target = Target("http://g", "a b&c/d")
    assert target.page("3f") == "http://g/j/3f#?queue=a%20b%26c/d"
    assert target.queue_page() == "http://g/#?queue=a%20b%26c/d"


def test_a_link_holds_the_definition():
    """The ``job`` of the public example in BROWSER 2.8, but for its escaped padding."""
    definition = {"image": "alpine:3.19.1", "command": 'echo "hello world"'}
    encoded = (
        "JTdCJTIyY29tbWFuZCUyMiUzQSUyMmVjaG8lMjAlNUMlMjJoZWxsbyUyMHdvcmxkJTVDJTIyJTIyJTJDJTIy"
        "aW1hZ2UlMjIlM0ElMjJhbHBpbmUlM0EzLjE5LjElMjIlN0Q="
    )
    assert Target("http://g", "q").page_of(definition) == f"http://g/#?job={encoded}&queue=q"
    odd = {"command": "é ~*'()!_.- \U0001f600"}
    job = Target("http://g", "q").page_of(odd).partition("job=")[2].partition("&")[0]
    assert json.loads(unquote(base64.b64decode(job).decode("ascii"))) == odd


def test_new_names_are_plain_long_and_never_the_same():
    names = {new_queue_name() for _ in range(200)}
    assert len(names) == 200
    for name in names:
        groups = name.split("-")
        assert [len(group) for group in groups] == [4] * 7
        assert set("".join(groups)) <= set("0123456789abcdefghjkmnpqrstvwxyz")
