"""The Prometheus text format, version 0.0.4: families of samples, written out.

All samples of one family stand together behind its HELP and TYPE, as the format wants it, however
many subjects (queues, say) are told of.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeVar

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["gauge", "counter", "histogram"]
S = TypeVar("S")


class Sample(NamedTuple):
    """``suffix`` is what a histogram's parts add to the family's name."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family(Generic[S]):
    """``read`` takes the samples out of one subject. The names of counters end with ``_total``,
    of what has a unit with that unit, in the plural and without a prefix: seconds, bytes."""

    name: str
    kind: Kind
    help: str
    read: Callable[[S], Iterable[Sample]]


def one(read: Callable[[S], float]) -> Callable[[S], Iterable[Sample]]:
    """For a family of one sample without labels."""
    return lambda subject: (Sample(read(subject)),)


def each(label: str, counts: Mapping[str, float]) -> Iterator[Sample]:
    """A sample for each entry, in the order of the mapping."""
    return (Sample(value, ((label, name),)) for name, value in counts.items())


def written(
    families: Iterable[Family[S]], subjects: Sequence[tuple[tuple[tuple[str, str], ...], S]]
) -> str:
    """``subjects``: each with the labels that tell it from the others."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, subject in subjects:
            for sample in family.read(subject):
                name = family.name + sample.suffix
                lines.append(f"{name}{_labels(labels + sample.labels)} {number(sample.value)}")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_value(value)}"' for name, value in labels) + "}"


def _value(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
