"""``/skill.md``: the short text for a client that knows when to load it: five steps, what each
failure means, exit codes. The prose is ``skill.md``."""

import functools
from typing import Final

from gridd.client.errors import MEANINGS
from gridd.guide import examples, tables
from gridd.guide.template import read, shell, table
from gridd_protocol.limits import INLINE_BYTES_MAX

BYTES_MAX: Final = 8_000


@functools.cache
def template() -> str:
    """The text, with places for the grid's addresses: see ``template.filled``."""
    parts = {
        "submit": _shown("gridd submit"),
        "inline": str(INLINE_BYTES_MAX),
        "follow": _shown("gridd wait", "gridd story"),
        "outputs": _shown("gridd result", "gridd outputs"),
        "share": _shown("gridd url"),
        "run": _shown("gridd run", at_most=1),
        "ends": table((f"`{reason}`", *words) for reason, words in tables.ENDS.items()),
        "refusals": table((f"`{code}`", step) for code, step in tables.REFUSALS.items()),
        "exits": table((int(code), meaning) for code, meaning in MEANINGS.items()),
    }
    return read("skill.md", parts)


def _shown(*commands: str, at_most: int | None = None) -> str:
    found = [one for command in commands for one in examples.of(command)]
    return shell(examples.lines(found[:at_most]))
