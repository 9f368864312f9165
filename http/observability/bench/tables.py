"""The results as tables, for a terminal and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from observability.bench.contenders import FLOOR
from observability.bench.measures import MEASURES, Column, Measure
from observability.bench.results import Case, Results, Row, cases_of, rows_of

MARKER: Final = "bench"
_ABSENT: Final = "-"


def text_tables(results: Results) -> str:
    """Everything, for a terminal."""
    lines = []
    for measure, case, rows in tables(results):
        lines += [f"{measure.title}: {case.label}", *_aligned([_heading(measure), *_cells(measure, rows)]), ""]
    lines += _footnotes(results)
    return "\n".join(lines).rstrip() + "\n"


def markdown_tables(results: Results) -> str:
    """Everything, with a command for each table."""
    lines, shown = [], ""
    for measure, case, rows in tables(results):
        if measure.key != shown:
            lines += [f"### {measure.title}", "", measure.meaning, ""]
            shown = measure.key
        heading = _heading(measure)
        lines += [f"{case.label} (`{case.command}`):", "", _bar(heading), _bar(["---", *["---:"] * (len(heading) - 1)])]
        lines += [_bar(cells) for cells in _cells(measure, rows)]
        lines.append("")
    lines += [f"- {line}" for line in _footnotes(results)]
    return "\n".join(lines).rstrip() + "\n"


def write_markdown(results: Results, path: Path) -> None:
    """Writes the tables to a file; in one that has the markers, only what stands between them is replaced."""
    begin, end = f"<!-- {MARKER} -->\n", f"<!-- /{MARKER} -->"
    text = path.read_text("utf-8") if path.exists() else ""
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    tables_ = markdown_tables(results)
    path.write_text(f"{head}{begin}{tables_}{end}{tail}" if found and closed else tables_, "utf-8")


def tables(results: Results) -> Iterator[tuple[Measure, Case, list[Row]]]:
    """The cases in the order of the measures, each with its rows from the best to the worst."""
    cases = cases_of(results.samples)
    for measure in MEASURES.values():
        for case in cases:
            if case.measure == measure.key:
                yield measure, case, sorted_rows(measure, rows_of(results.samples, case, FLOOR))


def sorted_rows(measure: Measure, rows: Sequence[Row]) -> list[Row]:
    """Sorts by the first column; rows without a value in it come last."""
    key = measure.columns[0].key
    return sorted(rows, key=lambda row: row.values.get(key, float("inf")))


def _heading(measure: Measure) -> list[str]:
    cells = ["server"]
    for column in measure.columns:
        cells += [column.heading, "x floor"] if column.has_ratio else [column.heading]
    return cells


def _cells(measure: Measure, rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        cells = [row.label]
        for column in measure.columns:
            cells.append(_shown(column, row.values))
            if column.has_ratio:
                cells.append(f"{row.ratios[column.key]:.2f}" if column.key in row.ratios else _ABSENT)
        yield cells


def _shown(column: Column, values: dict[str, float]) -> str:
    return f"{values[column.key]:,.{column.digits}f}" if column.key in values else _ABSENT


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _bar(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in cells) + " |"


def _footnotes(results: Results) -> list[str]:
    rounds = max((sample.round for sample in results.samples), default=0)
    medians = f"medians of up to {rounds} rounds, ratios within a round" if rounds > 1 else "one round"
    lines = [f"observability {results.version}, {results.started}: {medians}"]
    lines += [f"{name}: {value}" for name, value in results.machine.items()]
    lines += [f"not measured: {key}: {why}" for key, why in results.left_out.items()]
    return lines + results.notes
