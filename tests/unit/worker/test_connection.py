"""Where a worker connects."""

import pytest

from gridd_worker.connection import worker_url


@pytest.mark.parametrize(
    ("address", "queue", "url"),
    [
        ("http://127.0.0.1:8000", "local", "ws://127.0.0.1:8000/q/local/worker"),
        ("https://grid.example.org", "a b", "wss://grid.example.org/q/a%20b/worker"),
        ("https://example.org/grid/", "ä?&#", "wss://example.org/grid/q/%C3%A4%3F%26%23/worker"),
        ("http://[::1]:80", "50%", "ws://[::1]:80/q/50%25/worker"),
    ],
)
def test_the_queue_is_percent_encoded(address: str, queue: str, url: str) -> None:
    assert worker_url(address, queue) == url
