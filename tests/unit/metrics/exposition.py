"""A strict reader of the Prometheus text format 0.0.4: what it takes, Prometheus takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) ((?:[^\\\n]|\\\\|\\n)+)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.+)\}})? (-?\d+(?:\.\d+)?(?:e-?\d+)?|\+Inf)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Read:
    """One family. ``samples``: (name with its suffix, labels in order) -> value."""

    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def read(text: str) -> dict[str, Read]:
    """The families in order. Raises AssertionError for what is not in the format."""
    assert text.endswith("\n"), "the last line is not ended"
    families: dict[str, Read] = {}
    name, lines = "", text.split("\n")[:-1]
    helps: dict[str, str] = {}
    for line in lines:
        if not line:
            continue
        if found := _HELP.fullmatch(line):
            assert found[1] not in helps, f"{found[1]} is told of twice"
            name, helps[found[1]] = "", found[2]
        elif found := _TYPE.fullmatch(line):
            name = found[1]
            assert name not in families, f"the samples of {name} do not stand together"
            families[name] = Read(found[2], helps[name])
        else:
            _read_sample(line, name, families)
    assert list(helps) == list(families), "a family has no HELP, or no TYPE"
    for name, family in families.items():
        _check(name, family)
    return families


def value(families: dict[str, Read], name: str, **labels: str) -> float:
    """Of the one sample with these labels among others."""
    family = next(its for of, its in families.items() if name in (of, f"{of}_count", f"{of}_sum"))
    found = [
        number
        for (sample, its), number in family.samples.items()
        if sample == name and set(labels.items()) <= set(its)
    ]
    assert len(found) == 1, f"{name} {labels}: {len(found)} samples"
    return found[0]


def _read_sample(line: str, name: str, families: dict[str, Read]) -> None:
    found = _SAMPLE.fullmatch(line)
    assert found, f"not a sample: {line}"
    assert name, f"behind no TYPE: {line}"
    family = families[name]
    suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    assert found[1] in [name + suffix for suffix in suffixes], f"{line} is not of {name}"
    labels, rest = [], found[2] or ""
    while rest:
        label = _LABEL.match(rest)
        assert label, f"not labels: {rest}"
        labels.append((label[1], re.sub(r'\\[\\"n]', lambda it: _ESCAPES[it[0]], label[2])))
        rest = rest[label.end() :]
    assert len(dict(labels)) == len(labels), f"a label twice: {line}"
    key = (found[1], tuple(labels))
    assert key not in family.samples, f"the same sample twice: {line}"
    family.samples[key] = float(found[3])


def _check(name: str, family: Read) -> None:
    assert (family.kind == "counter") == name.endswith("_total"), name
    if family.kind != "histogram":
        return
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), number in family.samples.items():
        if sample == f"{name}_bucket":
            rest = tuple(label for label in labels if label[0] != "le")
            series.setdefault(rest, []).append((float(dict(labels)["le"]), number))
    for labels, buckets in series.items():
        assert buckets == sorted(buckets), f"{name}: buckets fall"
        assert buckets[-1][0] == float("inf"), f"{name} has no +Inf"
        assert buckets[-1][1] == family.samples[f"{name}_count", labels]
        assert (f"{name}_sum", labels) in family.samples
