"""docs/journal.md lists every record with its members, in the order in which they are stored."""

import re
import typing
from pathlib import Path

import msgspec

from gridd.core import records

DOC = Path(__file__).parents[2] / "docs" / "journal.md"


def test_every_record_stands_in_the_doc_as_it_is_stored():
    rows = re.findall(r"^\| `(\S+)` \| `(\w+)`: [^|]+\| ([\w, ]+) \|$", DOC.read_text(), re.M)
    listed = {name: (tag, members.split(", ")) for tag, name, members in rows}
    kinds = typing.get_args(records.Record)
    assert set(listed) == {kind.__name__ for kind in kinds}
    for kind in kinds:
        tag, members = listed[kind.__name__]
        assert tag == kind.__struct_config__.tag
        stored = [field.name for field in msgspec.structs.fields(kind)]
        assert ["queue", "job", *members] == stored
