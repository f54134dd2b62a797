"""docs/metrics.md lists every series with its kind, labels and help, and no other."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridd.metrics.meters import Meters
from gridd.metrics.pages import SERVER_FAMILIES, GridFigures
from gridd.metrics.process import Process
from gridd.metrics.queue_figures import QUEUE_LENGTH, QueueFigures, queue_families
from gridd.metrics.text import Family

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (gauge|counter|histogram) \| ([^|]*) \| ([^|]+) \|$", re.M)


def rows(families: Sequence[Family[Any]], subject: Any) -> list[tuple[str, str, str, str]]:
    found = []
    for family in families:
        labels = {name for sample in family.read(subject) for name, _ in sample.labels} - {"le"}
        shown = ", ".join(f"`{name}`" for name in sorted(labels))
        found.append((family.name, family.kind, shown, family.help))
    return found


def test_every_series_stands_in_the_doc() -> None:
    queue = QueueFigures()
    grid = GridFigures(queue, 0, False, Meters(), process=Process(1, 1.0, 1))
    wanted = rows([QUEUE_LENGTH, *queue_families("gridd_queue")], queue)
    wanted += rows(SERVER_FAMILIES, grid)
    assert ROW.findall(DOC.read_text(encoding="utf-8")) == wanted


def test_names_say_their_unit_and_kind() -> None:
    families: list[Family[Any]] = [*queue_families("gridd"), *SERVER_FAMILIES]
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    for family in families:
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert re.fullmatch(r"(gridd|process)_[a-z_]+", family.name), family.name
