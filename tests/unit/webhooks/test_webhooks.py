"""When a call is made, made again, and given up; who waits for whom. No network, no real time."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from gridd.webhooks.delivery import pause_s
from gridd.webhooks.policy import AddressRefused
from gridd.webhooks.transport import Answer, Unreachable
from gridd_protocol import limits
from gridd_protocol.errors import ProtocolError
from gridd_protocol.version import __version__
from tests.unit.webhooks.support import JOB, World, settle, worlds

A = "https://a.example/x"


@pytest.fixture(autouse=True)
async def stopped() -> AsyncIterator[None]:
    """No call outlives its test."""
    yield
    while worlds:
        await worlds.pop().webhooks.close()


async def test_what_is_sent():
    world = World()
    control = {"namespace": "n", "callbacks": {"queued": {"url": A, "payload": {"p": [1]}}}}
    await world.offer(control=json.dumps(control).encode())
    [(url, body, headers)] = world.receivers.calls
    assert url == A
    assert body == {"jobId": JOB, "queue": "q", "namespace": "n", "config": {"p": [1]}}
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"gridd/{__version__}"
    assert world.counts() == {"delivered": 1}


RESULTS = [
    (
        "exit code",
        b'{"StatusCode":3,"error":"it failed"}',
        "",
        {"exitCode": 3, "message": "it failed"},
    ),
    ("success", b'{"StatusCode":0,"outputs":{}}', "", {"exitCode": 0}),
    ("a message", b"", "cancelled by me", {"message": "cancelled by me"}),
    ("no result", b"", "", {}),
    ("not a number", b'{"StatusCode":"0","error":{"a":1}}', "", {}),
    ("a truth", b'{"StatusCode":true}', "", {}),
    ("half a pair", b'{"StatusCode":1,"error":"a\\ud800"}', "", {"exitCode": 1, "message": "a?"}),
    ("not an object", b"[1]", "", {}),
]


@pytest.mark.parametrize(
    ("result", "message", "more"), [r[1:] for r in RESULTS], ids=[r[0] for r in RESULTS]
)
async def test_what_is_sent_at_the_end(result, message, more):
    world = World()
    await world.offer(kind="finished", reason="Error", message=message, result=result)
    told = {"state": "Finished", "finishedReason": "Error", **more}
    common = {"jobId": JOB, "queue": "q", "namespace": "_", "config": {}}
    assert world.receivers.calls[0][1] == {**common, **told}


async def test_a_long_message_is_cut():
    world = World()
    await world.offer(kind="finished", reason="Error", message="ä" * 5_000)
    message = world.receivers.calls[0][1]["message"]
    assert len(message.encode()) == limits.WEBHOOK_MESSAGE_BYTES_MAX


async def test_the_key_is_the_same_for_each_try_and_for_nothing_else():
    world = World()
    world.receivers.answers["a.example"] = [500]
    await world.offer()
    await world.time.pass_time(2)
    await world.offer(queued_time=6)  # submitted again
    await world.offer(job="b" * 64)
    await world.offer(queue="r")
    await world.offer(kind="finished")
    keys = [headers["Idempotency-Key"] for _, _, headers in world.receivers.calls]
    assert len(keys) == 6
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5
    again = World()
    await again.offer()
    assert again.receivers.calls[0][2]["Idempotency-Key"] == keys[0], "not the same after a restart"


async def test_nothing_asked_nothing_called():
    world = World()
    for control in (
        b"",
        b"{}",
        b'{"namespace":"n"}',
        b'{"callbacks":{"finished":{"url":"http://x"}}}',
    ):
        await world.offer(control=control)
    assert not world.receivers.calls
    assert world.counts() == {}


@pytest.mark.parametrize("failure", [500, 502, 503, 429, Unreachable("no connection")], ids=str)
async def test_it_is_tried_again_later_and_later(failure):
    world = World()
    world.receivers.answers["a.example"] = [failure] * 4
    await world.offer()
    pauses = []
    while world.time.pauses:
        assert world.counts()["waiting"] == 1
        pauses += world.time.pauses
        await world.time.pass_time(pauses[-1])
    assert pauses == [2, 4, 8, 16]
    assert world.counts() == {"delivered": 1, "retries": 4}


async def test_it_is_given_up_after_so_many_tries(caplog):
    world = World(age_s=1e9)
    world.receivers.answers["a.example"] = [500] * 100
    await world.offer(url="https://a.example/x?token=secret")
    while world.time.pauses:
        assert world.time.pauses[0] <= limits.WEBHOOK_BACKOFF_MS_MAX / 1000
        await world.time.pass_time(world.time.pauses[0])
    assert len(world.receivers.calls) == limits.WEBHOOK_TRIES_MAX
    assert world.counts() == {"failed": 1, "retries": limits.WEBHOOK_TRIES_MAX - 1}
    [line] = caplog.records
    assert (line.levelno, line.getMessage()) == (
        logging.WARNING,
        "a webhook has failed: answered 500",
    )
    assert "secret" not in str(vars(line))


async def test_it_is_given_up_when_it_is_too_old():
    world = World(age_s=100)
    world.receivers.answers["a.example"] = [500] * 100
    await world.offer()
    while world.time.pauses:
        await world.time.pass_time(world.time.pauses[0])
    assert world.time.now <= 1_100
    assert world.counts() == {"failed": 1, "retries": 5}  # 2 + 4 + 8 + 16 + 32, and 64 is too late


async def test_one_that_got_no_turn_in_time_is_given_up():
    world = World(age_s=100, calls_per_host=1)
    world.receivers.make_slow("a.example")
    await world.offer()
    await world.offer()
    world.time.now += 101
    world.receivers.go("a.example")
    await settle()
    assert world.counts() == {"delivered": 1, "failed": 1}


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 400, 401, 403, 404, 410, 422])
async def test_other_answers_end_it(status):
    world = World()
    world.receivers.answers["a.example"] = [status]
    await world.offer()
    assert world.counts() == {"failed": 1}


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_is_success(status):
    world = World()
    world.receivers.answers["a.example"] = [status]
    await world.offer()
    assert world.counts() == {"delivered": 1}


@pytest.mark.parametrize(
    ("status", "asked", "pause"),
    [
        (429, "30", 30),
        (503, "30", 30),
        (429, "1", 2),  # no sooner than our own pause
        (429, "999999", limits.WEBHOOK_BACKOFF_MS_MAX / 1000),
        (429, "9" * 400, 2),
        (429, "-5", 2),
        (429, "Wed, 21 Oct 2026 07:28:00 GMT", 2),
        (429, "", 2),
        (500, "30", 2),
    ],
)
async def test_a_receiver_may_ask_for_a_pause_up_to_a_bound(status, asked, pause):
    world = World()
    world.receivers.answers["a.example"] = [Answer(status, retry_after=asked)]
    await world.offer()
    assert world.time.pauses == [pause]


def test_pauses_are_spread():
    assert [pause_s(1, None, drawn) for drawn in (0.0, 0.5, 1.0)] == [1.0, 1.5, 2.0]
    assert pause_s(50, None, 1.0) == limits.WEBHOOK_BACKOFF_MS_MAX / 1000


async def test_a_call_has_a_time_limit():
    world = World(call_s=0.01)
    world.receivers.make_slow("a.example")
    await world.offer()
    await world.webhooks._tasks.copy().pop()
    assert world.counts() == {"waiting": 1}
    assert world.time.pauses == [2]


# --- redirects and refusals ----------------------------------------------------------


@pytest.mark.parametrize("status", [307, 308])
async def test_redirects_that_keep_the_post_are_followed(status):
    world = World()
    world.receivers.answers["a.example"] = [
        Answer(status, "/y"),
        Answer(status, "http://b.example/z"),
    ]
    await world.offer()
    assert world.receivers.urls == [A, "https://a.example/y", "http://b.example/z"]
    bodies = [body for _, body, _ in world.receivers.calls]
    assert bodies[0] == bodies[1] == bodies[2]
    assert world.counts() == {"delivered": 1}


async def test_redirects_have_a_bound():
    world = World()
    world.receivers.answers["a.example"] = [Answer(307, A)] * 100
    await world.offer()
    assert len(world.receivers.calls) == limits.WEBHOOK_REDIRECTS_MAX + 1
    assert world.counts() == {"failed": 1}


@pytest.mark.parametrize(
    "location", [None, "", "ftp://b.example/", "http://u:p@b.example/", "http://[", "http://b:0/"]
)
async def test_a_redirect_that_leads_nowhere_is_a_failure(location):
    world = World()
    world.receivers.answers["a.example"] = [Answer(307, location)]
    await world.offer()
    assert world.counts() == {"failed": 1}
    assert len(world.receivers.calls) == 1


@pytest.mark.parametrize(
    "where", ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://127.1/", "//localhost/"]
)
async def test_a_redirect_to_a_private_address_is_refused(where):
    world = World()
    world.receivers.answers["a.example"] = [Answer(307, where)]
    await world.offer()
    assert world.counts() == {"refused": 1}
    assert len(world.receivers.calls) == 1


async def test_an_address_that_is_refused_when_connecting_is_not_tried_again():
    world = World()
    world.receivers.answers["a.example"] = [AddressRefused("10.0.0.1 is not a public address")]
    await world.offer()
    assert world.counts() == {"refused": 1}


@pytest.mark.parametrize(("policy", "url"), [("off", A), ("public", "http://10.0.0.1/")])
async def test_a_record_from_before_the_policy_is_refused(policy, url):
    world = World(policy)
    await world.offer(url)
    assert not world.receivers.calls
    assert world.counts() == {"refused": 1}


async def test_a_record_that_was_not_checked_is_refused():
    world = World()
    await world.offer(control=b'{"callbacks":{"queued":{"url":"ftp://x"}}}')
    assert world.counts() == {"refused": 1}


@pytest.mark.parametrize("kind", ["queued", "finished"])
@pytest.mark.parametrize(
    ("policy", "url", "fits"),
    [
        ("public", A, True),
        ("public", "http://127.0.0.1:81/", False),
        ("public", "http://localhost/", False),
        ("any", "http://127.0.0.1:81/", True),
        ("off", A, False),
    ],
)
async def test_the_policy_at_submission(kind, policy, url, fits):
    control = json.dumps({"callbacks": {kind: {"url": url}}}).encode()
    webhooks = World(policy).webhooks
    if fits:
        webhooks.check(control)
        return
    with pytest.raises(ProtocolError) as caught:
        webhooks.check(control)
    assert caught.value.code.http == 400
    assert caught.value.field == f"control.callbacks.{kind}.url"
    assert repr(url) in caught.value.message


# --- bounds --------------------------------------------------------------------------


async def test_calls_at_one_time_are_bounded_in_all_and_by_host():
    world = World(calls=3, calls_per_host=2)
    for host in ("a", "b"):
        world.receivers.make_slow(f"{host}.example")
    for _ in range(5):
        await world.offer("https://a.example/x")
    assert world.receivers.open == ["a.example"] * 2
    for _ in range(5):
        await world.offer("https://b.example/x")
    assert sorted(world.receivers.open) == ["a.example", "a.example", "b.example"]
    assert world.counts() == {"waiting": 7, "calling": 3}
    world.receivers.go("b.example")
    await settle()
    assert world.counts() == {"waiting": 3, "calling": 2, "delivered": 5}
    world.receivers.go("a.example")
    await settle()
    assert world.counts() == {"delivered": 10}
    assert world.receivers.open_most == 3


async def test_a_slow_host_is_not_in_the_way_of_others():
    world = World()
    world.receivers.make_slow("slow.example")
    for _ in range(200):
        await world.offer("https://slow.example/x")
    await world.offer(A)
    assert world.receivers.calls[-1][0] == A
    assert world.counts()["delivered"] == 1


async def test_hosts_take_turns():
    world = World(calls=1)
    world.receivers.make_slow("first.example")
    await world.offer("https://first.example/")
    for host in "aaabbc":
        await world.offer(f"https://{host}.example/")
    world.receivers.go("first.example")
    await settle()
    assert [url[8] for url in world.receivers.urls[1:]] == list("abcaba")


@pytest.mark.parametrize("bounds", [{"held_per_queue": 3}, {"held": 3}], ids=str)
async def test_too_many_that_wait_and_the_oldest_goes(bounds, caplog):
    world = World(calls=1, **bounds)
    world.receivers.make_slow("a.example")
    for number in range(6):
        await world.offer(f"https://a.example/{number}")
    assert world.counts() == {"waiting": 2, "calling": 1, "dropped": 3}
    world.receivers.go("a.example")
    await settle()
    assert [url[-1] for url in world.receivers.urls] == ["0", "4", "5"]
    [line] = caplog.records  # and no more within a minute
    assert "a webhook was dropped: too many wait; the oldest goes" in line.getMessage()
    assert (line.queue, line.host) == ("q", "a.example")


async def test_one_queue_over_its_bound_costs_no_other():
    world = World(calls=1, held_per_queue=2)
    world.receivers.make_slow("a.example")
    await world.offer("https://a.example/other", queue="other")
    for number in range(5):
        await world.offer(f"https://a.example/{number}")
    await world.offer("https://a.example/other", queue="other")
    world.receivers.go("a.example")
    await settle()
    assert [url[-1] for url in world.receivers.urls] == ["r", "3", "4", "r"]


async def test_the_bytes_that_wait_are_bounded():
    world = World(calls=1, held_bytes=2_000)
    world.receivers.make_slow("a.example")
    for number in range(6):
        await world.offer(f"https://a.example/{'x' * 700}{number}")
    assert world.counts() == {"waiting": 1, "calling": 1, "dropped": 4}


async def test_one_that_waits_for_its_next_try_goes_too_and_is_not_tried():
    world = World(held=2)
    world.receivers.answers["a.example"] = [500]
    await world.offer()
    world.receivers.make_slow("b.example")
    await world.offer("https://b.example/1")
    await world.offer("https://b.example/2")
    assert world.counts() == {"calling": 2, "dropped": 1}
    await world.time.pass_time(1_000)
    assert len(world.receivers.calls) == 3


async def test_with_all_under_way_the_new_one_goes():
    world = World(held=2)
    world.receivers.make_slow("a.example")
    for number in range(3):
        await world.offer(f"https://a.example/{number}")
    assert world.counts() == {"calling": 2, "dropped": 1}


async def test_nothing_is_left_behind():
    """Ended calls leave no trace in the line, whatever became of them."""
    world = World(held_per_queue=5, calls=2)
    for number in range(40):
        host = f"h{number % 7}.example"
        if number % 3 == 0:
            world.receivers.answers[host].append(500)
        await world.offer(f"https://{host}/", queue=f"q{number % 2}")
    while world.time.pauses:
        await world.time.pass_time(min(world.time.pauses))
    line = world.webhooks._line
    assert not line.calls
    assert (line._queues, line._ready, line._busy) == ({}, {}, {})
    assert (line._bytes, len(line._turns)) == (0, 0)


async def test_the_log_counts_what_it_does_not_tell(caplog):
    world = World()
    world.receivers.answers["a.example"] = [404] * 10
    for _ in range(4):
        await world.offer()
    await world.time.pass_time(61)
    await world.offer()
    told = [line.getMessage() for line in caplog.records]
    first = "a webhook has failed: answered 404"
    assert told == [first, f"{first}; and 3 more since such a line"]


async def test_a_bug_of_ours_costs_only_that_call(caplog):
    world = World()
    world.receivers.answers["a.example"] = [ZeroDivisionError()]
    await world.offer()
    await world.offer()
    assert world.counts() == {"failed": 1, "delivered": 1}
    assert "a webhook failed" in caplog.text


# --- the stop ------------------------------------------------------------------------


async def test_a_stop_waits_for_calls_that_end_soon():
    world = World(calls=1, stop_s=10)
    world.receivers.make_slow("a.example")
    await world.offer()
    await world.offer()
    stop = asyncio.ensure_future(world.webhooks.close())
    await settle()
    assert not stop.done()
    world.receivers.go("a.example")
    await stop
    assert world.counts() == {"delivered": 2}
    assert world.receivers.closed


async def test_a_stop_is_bounded_and_counts_what_is_lost():
    world = World(calls=1, stop_s=0.05)
    world.receivers.answers["b.example"] = [500]
    await world.offer("https://b.example/")
    world.receivers.make_slow("a.example")
    await world.offer()
    await world.offer()
    await world.webhooks.close()
    assert world.counts() == {"dropped": 3}
    assert not world.time.pauses
    assert not world.receivers.open
    await world.offer()
    assert world.counts() == {"dropped": 4}


async def test_a_call_that_fails_during_the_stop_is_not_tried_again():
    world = World(stop_s=10)
    world.receivers.make_slow("a.example")
    world.receivers.answers["a.example"] = [500]
    await world.offer()
    stop = asyncio.ensure_future(world.webhooks.close())
    await settle()
    world.receivers.go("a.example")
    await stop
    assert world.counts() == {"dropped": 1}
