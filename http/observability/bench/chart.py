"""The results as a chart in SVG: bars of CPU time relative to the floor, in the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from observability.bench.contenders import FLOOR, OURS
from observability.bench.measures import MEASURES
from observability.bench.results import Case, Results, Row, cases_of, rows_of
from observability.bench.tables import sorted_rows

# What a panel shows, and the column whose ratio it draws.
PANELS: Final = {"fanout": "CPU per client and tick", "rest": "CPU per request"}
COLUMN: Final = "cpu_us"

WIDTH: Final = 760
_LEFT: Final = 250
_BAR_WIDTH: Final = WIDTH - _LEFT - 130
_ROW: Final = 26
_BAR: Final = 18
_PANEL_HEAD: Final = 54
# A ratio beyond this ends the scale: its bar is cut, and its number says how far it goes.
MAX_RATIO: Final = 12.0

_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 12px; fill: #57606a }
.peer { fill: #8c959f }
.ours { fill: #0969da }
.floor { fill: #2da44e }
.base { stroke: #2da44e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .peer { fill: #656c76 }
  .ours { fill: #4493f8 }
  .floor, .base { fill: #3fb950; stroke: #3fb950 }
}"""


def svg_chart(results: Results) -> str:
    """Returns one panel for each of `PANELS` that was measured, of the case with the most servers."""
    panels = [(title, case, rows) for key, title in PANELS.items() for case, rows in [_panel(results, key)] if rows]
    height = sum(_PANEL_HEAD + _ROW * len(rows) for _, _, rows in panels) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        "<title>CPU time of the server, relative to a C program that only sends; shorter is better</title>",
        f"<style>{_STYLE}</style>",
    ]
    top = 0
    for title, case, rows in panels:
        parts += _drawn(title, case, rows, top)
        top += _PANEL_HEAD + _ROW * len(rows)
    note = f"observability {results.version}, relative to a C program that only sends (1.0); bars end at {MAX_RATIO:g}"
    parts += [f'<text class="small" x="12" y="{height - 10}">{escape(note)}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def _panel(results: Results, measure: str) -> tuple[Case, list[Row]]:
    """The case of a measure with the most servers that have a ratio."""
    best: tuple[Case, list[Row]] = (Case(measure, "", ""), [])
    for case in cases_of(results.samples):
        if case.measure == measure:
            rows = [row for row in rows_of(results.samples, case, FLOOR) if COLUMN in row.ratios]
            if len(rows) > len(best[1]):
                best = case, sorted_rows(MEASURES[measure], rows)
    return best


def _drawn(title: str, case: Case, rows: Sequence[Row], top: int) -> Iterator[str]:
    scale = _BAR_WIDTH / min(MAX_RATIO, max(row.ratios[COLUMN] for row in rows))
    yield f'<text class="title" x="12" y="{top + 24}">{escape(title)}</text>'
    yield f'<text class="small" x="12" y="{top + 42}">{escape(case.label)}</text>'
    for number, row in enumerate(rows):
        y = top + _PANEL_HEAD + number * _ROW
        ratio = row.ratios[COLUMN]
        width = min(ratio, MAX_RATIO) * scale
        kind = "floor" if row.contender == FLOOR else "ours" if row.contender.startswith(OURS) else "peer"
        baseline = y + _BAR - 4
        yield f'<text x="{_LEFT - 8}" y="{baseline}" text-anchor="end">{escape(row.label)}</text>'
        yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
        value = f"{ratio:.2f} ({row.values[COLUMN]:.1f} us)"
        yield f'<text x="{_LEFT + width + 6:.1f}" y="{baseline}">{value}</text>'
    x = _LEFT + scale
    bottom = top + _PANEL_HEAD + len(rows) * _ROW - 6
    yield f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="{top + _PANEL_HEAD - 4}" y2="{bottom}"/>'
