"""Links to a page, read as the page reads them."""

import pytest

from gridd.client.errors import UsageError
from gridd.client.links import read_link
from gridd.client.target import Target

DEFINITION = {"image": "a", "command": "run ${A} ${A} ${B}", "build": {"context": "http://${A}"}}


@pytest.mark.parametrize("queue", ["q", "a b&c/d", "é"])
def test_what_we_write_we_read(queue):
    target = Target("http://g:1", queue)
    link = read_link(target.page_of(DEFINITION))
    assert (link.api, link.queue, link.definition) == ("http://g:1", queue, DEFINITION)
    link = read_link(target.page("3f"))
    assert (link.queue, link.job, link.definition) == (queue, "3f", None)


def test_the_users_parameters_go_into_env_and_the_first_place_of_their_name():
    address = Target("http://g", "q").page_of(DEFINITION) + "&A=x%20y&mp_z=1&fs-path=p&tab=5"
    assert read_link(address).definition == {
        "image": "a",
        "command": "run x%20y ${A} ${B}",
        "build": {"context": "http://x%20y"},
        "env": {"A": "x%20y", "tab": "5"},
    }


@pytest.mark.parametrize(
    ("more", "queue"),
    [
        ("&queueOverride=o", "o"),
        ("&queueOverride=o&ignoreQueueOverride=true", "q"),
        ("&queueOverride=", "q"),
    ],
)
def test_which_queue(more, queue):
    assert read_link(f"http://g/j/1#?queue=q{more}").queue == queue


def test_text_before_the_question_mark_is_passed_over():
    assert read_link("http://g/j/1##/queue/1?queue=q&x").queue == "q"


@pytest.mark.parametrize("value", ["!!!", "bm8=", "W10=", "JTdC"])
def test_what_can_not_be_read_is_said(value):
    with pytest.raises(UsageError, match="the link's job"):
        read_link(f"http://g/#?job={value}")
