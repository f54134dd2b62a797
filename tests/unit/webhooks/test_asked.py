"""What a client can get wrong about a webhook, told at the submission."""

import json

import pytest

from gridd.submission import read_submission
from gridd.webhooks.asked import read_asked
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import WEBHOOK_PAYLOAD_BYTES_MAX, WEBHOOK_URL_BYTES_MAX

DEFINITION = {"image": "a"}
URL = "https://example.org/hook"


def submit(callbacks):
    body = {"definition": DEFINITION, "control": {"namespace": "n", "callbacks": callbacks}}
    return read_submission(json.dumps(body).encode())[1].control


@pytest.mark.parametrize("kind", ["queued", "finished"])
@pytest.mark.parametrize("payload", [{"any": ["thing"]}, 3, "x", [1.50], False])
def test_the_payload_is_kept_value_for_value(kind, payload):
    asked = read_asked(submit({kind: {"url": URL, "payload": payload}}), kind)
    assert (str(asked.url), asked.namespace) == (URL, "n")
    assert json.loads(asked.payload) == payload


@pytest.mark.parametrize("more", [{}, {"payload": None}])
def test_no_payload_is_an_empty_object(more):
    asked = read_asked(submit({"queued": {"url": URL, **more}}), "queued")
    assert asked.payload == b"{}"


@pytest.mark.parametrize(
    "callbacks", [None, {}, {"queued": None}, {"queued": {}}, {"queued": {"url": ""}}, {"x": 1}]
)
def test_without_a_url_nothing_is_asked_for(callbacks):
    assert read_asked(submit(callbacks), "queued") is None


def test_no_control_asks_for_nothing():
    assert read_asked(b"", "queued") is None


@pytest.mark.parametrize("kind", ["queued", "finished"])
@pytest.mark.parametrize(
    "url",
    [
        "x",
        "example.org/x",
        "/x",
        "ftp://example.org/",
        "file:///etc/passwd",
        "unix:///run/x",
        "http://",
        "http:///x",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://:secret@example.org/",
        "http://a b/",
        "http://a/\r\nX: y",
        "http://a\\@b/",
        "http://a:99999/",
        "http://a:0/",
        "http://a:port/",
        "http://[::1/",
    ],
)
def test_a_malformed_url_is_named_with_its_value(kind, url):
    with pytest.raises(ProtocolError) as caught:
        submit({kind: {"url": url}})
    error = caught.value
    field = f"control.callbacks.{kind}.url"
    assert (error.code, error.code.http, error.field) == (ErrorCode.BAD_REQUEST, 400, field)
    assert field in error.message
    assert repr(url) in error.message


@pytest.mark.parametrize(
    ("callbacks", "field"),
    [
        ([], "control.callbacks"),
        ("x", "control.callbacks"),
        ({"queued": URL}, "control.callbacks.queued"),
        ({"finished": [URL]}, "control.callbacks.finished"),
        ({"queued": {"url": 5}}, "control.callbacks.queued.url"),
    ],
)
def test_a_wrong_type_is_named(callbacks, field):
    with pytest.raises(ProtocolError) as caught:
        submit(callbacks)
    assert (caught.value.code, caught.value.field) == (ErrorCode.BAD_REQUEST, field)


def test_the_bounds_of_url_and_payload():
    base = "https://example.org/"
    fits = base + "x" * (WEBHOOK_URL_BYTES_MAX - len(base))
    text = "x" * (WEBHOOK_PAYLOAD_BYTES_MAX - 2)  # with its quotes
    assert read_asked(submit({"queued": {"url": fits, "payload": text}}), "queued")
    for callback, field, limit in (
        ({"url": fits + "x"}, "url", WEBHOOK_URL_BYTES_MAX),
        ({"url": URL, "payload": text + "x"}, "payload", WEBHOOK_PAYLOAD_BYTES_MAX),
    ):
        with pytest.raises(ProtocolError) as caught:
            submit({"queued": callback})
        error = caught.value
        assert (error.code, error.limit) == (ErrorCode.TOO_LARGE, limit)
        assert error.field == f"control.callbacks.queued.{field}"


def test_a_payload_that_is_deep_is_refused():
    body = (
        b'{"definition":{"image":"a"},"control":{"callbacks":{"queued":{"url":"%b","payload":%b}}}}'
    )
    deep = b"[" * 20_000 + b"]" * 20_000
    with pytest.raises(ProtocolError) as caught:
        read_submission(body % (URL.encode(), deep))
    assert caught.value.code.http == 400


@pytest.mark.parametrize(
    "control", [b"{", b"[]", b'{"callbacks":5}', b'{"callbacks":{"queued":5}}']
)
def test_a_record_that_was_not_checked_is_refused_when_it_is_read(control):
    with pytest.raises(ProtocolError):
        read_asked(control, "queued")
