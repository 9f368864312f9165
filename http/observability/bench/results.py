"""What was measured, and the arithmetic over it: medians of rounds, and ratios to the floor of the same round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from observability.errors import BenchError

FORMAT: Final = 1


class Case(msgspec.Struct, frozen=True):
    """What one table is about: a measure, its sizes in words, and the command that measures it alone."""

    measure: str
    label: str
    command: str


class Sample(msgspec.Struct, frozen=True):
    """The values of one server in one round."""

    case: Case
    contender: str
    label: str
    round: int
    values: dict[str, float]


class Results(msgspec.Struct):
    """Everything that a run knows, as it is written to JSON."""

    version: str
    started: str
    command: str
    machine: dict[str, str]
    samples: list[Sample] = []
    left_out: dict[str, str] = {}
    """Why a server was not measured, by its key."""
    notes: list[str] = []
    format: int = FORMAT

    def add_note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise BenchError(f"{path}: not the results of a benchmark: {error}") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One server in one table."""

    contender: str
    label: str
    rounds: int
    values: dict[str, float]
    """Medians."""
    ratios: dict[str, float]
    """Medians of the ratios to the base in the same round; absent where the base was not measured, or is 0."""


def cases_of(samples: Iterable[Sample]) -> list[Case]:
    """The cases in the order in which they were first measured."""
    return list(dict.fromkeys(sample.case for sample in samples))


def rows_of(samples: Sequence[Sample], case: Case, base: str) -> list[Row]:
    """One row for each server of a case, in the order in which they were measured."""
    rounds: dict[str, dict[int, Sample]] = {}
    for sample in samples:
        if sample.case == case:
            rounds.setdefault(sample.contender, {})[sample.round] = sample
    bases = rounds.get(base, {})
    return [_row(list(by_round.values()), bases) for by_round in rounds.values()]


def _row(samples: list[Sample], bases: dict[int, Sample]) -> Row:
    names = dict.fromkeys(name for sample in samples for name in sample.values)
    values = {name: median(sample.values[name] for sample in samples if name in sample.values) for name in names}
    ratios = {}
    for name in names:
        paired = [
            sample.values[name] / base.values[name]
            for sample in samples
            if name in sample.values and (base := bases.get(sample.round)) and base.values.get(name)
        ]
        if paired:
            ratios[name] = median(paired)
    return Row(samples[0].contender, samples[0].label, len(samples), values, ratios)
