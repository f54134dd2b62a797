"""Words of a command line into the one string that a definition holds.

A worker splits that string like a shell, but not quite: to upstream's splitter (WIRE 6.7), and so
to ours, a backslash right before a quote or blank belongs to it, even where a shell says otherwise.
The form written here means the same to both: quotes and backslashes never meet.
"""

import re
from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def join_words(words: Sequence[str]) -> str:
    """A string that splits into ``words`` again, in a shell and in a worker."""
    parts: list[str] = []
    for word in words:
        quoted = quote_word(word)
        # after a backslash at its end only a line break ends a word for both
        parts += [quoted, "\n" if quoted.endswith("\\") else " "]
    return "".join(parts[:-1])


def quote_word(word: str) -> str:
    """Runs between single quotes, each in single quotes; the quotes themselves, and backslashes
    at the end of a run, stand outside, each behind a backslash."""
    return "\\'".join(_quote_run(run) for run in word.split("'")) if word else "''"


def _quote_run(run: str) -> str:
    body = run.rstrip("\\")
    tail = "\\\\" * (len(run) - len(body))
    if not body or _PLAIN.fullmatch(body):
        return body + tail
    return f"'{body}'{tail}"
