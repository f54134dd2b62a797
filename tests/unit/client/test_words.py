"""Words into one string, and back by a shell and by a worker."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridd.client.words import join_words
from gridd_worker.commandline import split_command

WORD = st.text(st.sampled_from("ab\\'\" $#*?\t\n;|&{}~`=é"), max_size=8)


@settings(deadline=None)
@given(st.lists(WORD, min_size=1, max_size=5))
def test_a_shell_and_a_worker_read_the_same_words(words):
    text = join_words(words)
    assert shlex.split(text) == words
    assert split_command(text, {"a": "expanded"}) == words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["echo", "hello"], "echo hello"),
        (["echo", "hello world"], "echo 'hello world'"),
        (["sh", "-c", "a && b"], "sh -c 'a && b'"),
        (["it's"], "it\\'s"),
        ([""], "''"),
        (["K=V", "/a/b.txt", "x:y,z@1%+"], "K=V /a/b.txt x:y,z@1%+"),
        (["a\\", "b"], "a\\\\\nb"),
    ],
)
def test_plain_words_stay_as_they_are(words, text):
    assert join_words(words) == text
