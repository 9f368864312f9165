"""The project's documents, taken apart: code blocks, tables, links, and the parts that are made from the code.

python tests/support/documents.py      rewrites the parts that are made from the code
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import SETTINGS, Config
from observability.config.toml_tables import format_duration
from observability.ingest.dialects import SYNONYMS
from observability.metrics.alerts.rule_file import load_rules
from observability.metrics.alerts.windows import BurnOver, Window
from observability.metrics.assembly import make_collectors, make_history

ROOT: Final = Path(__file__).parents[2]
SOURCE_ROOTS: Final = (ROOT / "core" / "observability", ROOT / "http" / "observability")

_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# A bar in a cell is written with a backslash.
_CELL_END = re.compile(r"(?<!\\)\|")
_TOUR_LINE = re.compile(r"^- `((?:core|http)/observability/[a-z0-9_/]+/)`(?: .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: what it is written in, its text, and where it stands."""

    language: str
    text: str
    document: str
    line: int

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True, slots=True)
class Document:
    """One document; `name` is its path in the repository."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    def blocks(self) -> Iterator[Block]:
        for match in _FENCE.finditer(self.text):
            yield Block(match[1], match[2], self.name, self.text.count("\n", 0, match.start()) + 1)

    def codes(self) -> list[str]:
        """Everything in single backticks."""
        return _CODE.findall(self.prose)

    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    def anchors(self) -> set[str]:
        """The headings as a link names them: lower case, without punctuation, hyphens for spaces."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(self.prose)}

    def part(self, marker: str) -> str:
        """The text between `<!-- marker -->` and `<!-- /marker -->`."""
        (found,) = re.findall(rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", self.text, re.DOTALL)
        part: str = found
        return part

    def table(self, marker: str) -> list[list[str]]:
        """The cells of the table between two markers, row by row, without its head."""
        lines = [line for line in self.part(marker).splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in _CELL_END.split(line)[1:-1]] for line in lines[2:]]

    def names(self, marker: str, column: int = 0) -> list[str]:
        """The names in backticks in one column of a table."""
        return [name for row in self.table(marker) for name in _CODE.findall(row[column])]


def documents() -> list[Document]:
    paths = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")]
    paths += sorted((ROOT / "docs").glob("*.md"))
    return [Document(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]


def document(name: str) -> Document:
    return next(found for found in DOCUMENTS if found.name == name)


DOCUMENTS: Final = documents()
GUIDES: Final = [found for found in DOCUMENTS if found.name != "CHANGELOG.md"]
"""Those that describe what is; the changelog tells what was."""


# -- what is made from the code


def settings_table() -> str:
    """The settings, a row each."""
    rows = ["| variable | flag | default | expected | meaning |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        codes = (f"`{text}`" if text else "" for text in (setting.env, setting.flag, setting.default_text))
        cells = (*codes, setting.kind.expected, setting.meaning)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def default_rules() -> str:
    """The default alert rules, a row each."""
    rows = ["| rule | metric | raises | resolves | severity |", "|---|---|---|---|---|"]
    for rule in load_rules(None):
        value = _of_window(rule.window)
        raises = f"{value}{_SIGNS[rule.comparison]} {_shown(rule.threshold)}"
        if rule.for_ns:
            raises += f" for {format_duration(rule.for_ns)}"
        if rule.samples is not None:
            raises += f", of {rule.min_samples} `{rule.samples}` at least"
        # What it resolves at is the opposite of what it raises at.
        resolves = f"{_OPPOSITES[rule.comparison]} {_shown(rule.threshold if rule.clear is None else rule.clear)}"
        if rule.clear_for_ns:
            resolves += f" for {format_duration(rule.clear_for_ns)}"
        rows.append(f"| `{rule.name}` | `{rule.metric}` | {raises} | {resolves} | {rule.severity} |")
    return "\n".join(rows) + "\n"


def _of_window(window: Window | None) -> str:
    """What is compared, if it is not the metric's value."""
    if isinstance(window, BurnOver):
        bad = "" if window.comparison is None else f" {_SIGNS[window.comparison]} {_shown(window.threshold)} being bad"
        return f"burn rate of {window.objective_percent:g} %{bad}, over {format_duration(window.window_ns)} "
    return "" if window is None else f"increase over {format_duration(window.window_ns)} "


def losses() -> str:
    """The alerts of losses, a row each."""
    collectors = make_collectors(Config(), Bus(), EventClock(HostClock()), make_history(1))
    rows = ["| key | title | severity | detail |", "|---|---|---|---|"]
    for loss in sorted(collectors.system.losses, key=lambda loss: (loss.severity, loss.name)):
        alert = loss.alert(1, 0)
        rows.append(f"| `{alert.key}` | {alert.title} | {alert.severity} | {loss.detail.format(count='N')} |")
    return "\n".join(rows) + "\n"


def synonyms() -> str:
    """The words that are read for each of ours, by field."""
    rows = ["| field | word | also read |", "|---|---|---|"]
    for place, words in SYNONYMS.items():
        for ours in dict.fromkeys(words.values()):
            also = ", ".join(f"`{word}`" for word, meaning in words.items() if meaning == ours)
            rows.append(f"| {_PLACES.get(place, f'`{place}`')} | {f'`{ours}`' if ours else 'unknown'} | {also} |")
    return "\n".join(rows) + "\n"


_PLACES: Final = {
    "status": "`status` of an order", "side": "`side`, `aggressor_side`", "heartbeat.status": "`status` of a component",
}  # fmt: skip
_SIGNS: Final = {"above": ">", "at_least": "≥", "below": "<", "at_most": "≤", "equals": "="}
_OPPOSITES: Final = {"above": "≤", "at_least": "<", "below": "≥", "at_most": ">", "equals": "≠"}


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | str) else f"{value:g}"


def layers() -> str:
    """The layers of imports, as import-linter checks them: those of everything, then those within a package."""
    lists = []
    for contract in project()["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            (container,) = contract["containers"]
            inside = container.removeprefix("observability").removeprefix(".")
            lines = [f"{inside}:", *(f"    {line}" for line in contract["layers"])] if inside else contract["layers"]
            lists.append("\n".join(lines))
    return "```text\n" + "\n\n".join(lists) + "\n```\n"


def packages() -> dict[str, str]:
    """What each package says of itself, in the first paragraph of its docstring, by its folder."""
    found = {}
    for source_root in SOURCE_ROOTS:
        for path in sorted(source_root.rglob("__init__.py")):
            docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
            found[f"{path.parent.relative_to(ROOT)}/"] = " ".join(docstring.split("\n\n")[0].split())
    return found


def tour_line(folder: str) -> str:
    return f"- `{folder}` {packages()[folder]}"


def tour_lines(text: str) -> dict[str, str]:
    """The lines of the tour of folders, by folder."""
    return {match[1]: match[0] for match in _TOUR_LINE.finditer(text)}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


GENERATED: Final[dict[tuple[str, str], Callable[[], str]]] = {
    ("docs/configuration.md", "settings"): settings_table,
    ("docs/alerts.md", "default-rules"): default_rules,
    ("docs/alerts.md", "losses"): losses,
    ("docs/sending-events.md", "synonyms"): synonyms,
    ("ARCHITECTURE.md", "layers"): layers,
}
"""By document and marker."""


def rewrite() -> None:
    """Brings every generated part up to the code."""
    for (name, marker), make in GENERATED.items():
        found = next(found for found in documents() if found.name == name)
        head, _, rest = found.text.partition(f"<!-- {marker} -->\n")
        _, end, tail = rest.partition(f"<!-- /{marker} -->")
        found.path.write_text(f"{head}<!-- {marker} -->\n{make()}{end}{tail}", encoding="utf-8")
    architecture = next(found for found in documents() if found.name == "ARCHITECTURE.md")
    known = packages()
    text = _TOUR_LINE.sub(lambda match: tour_line(match[1]) if match[1] in known else match[0], architecture.text)
    architecture.path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
