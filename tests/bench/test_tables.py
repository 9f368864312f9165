"""Results as tables, in a terminal and in Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.bench.results import Case, Results, Sample
from observability.bench.tables import markdown_tables, text_tables, write_markdown

COMMAND = "observability bench --only fanout --clients 1000 --bytes 2000"
CASE = Case("fanout", "1,000 clients, 2 KB", COMMAND)
VALUES = {"cpu_us": 5.0, "p50_ms": 1.0, "p99_ms": 4.0, "rate": 10.0}


@pytest.fixture
def results() -> Results:
    made = Results("1.2.3", "2026-01-01", "observability bench", {"cpu": "one of a kind"})
    slow = {name: value * 2 for name, value in VALUES.items() if name != "p99_ms"} | {"rate": 9.5}
    made.samples += [
        Sample(CASE, "fastapi", "FastAPI", 1, slow),
        Sample(CASE, "floor", "the floor", 1, VALUES),
        Sample(
            Case("memory", "1,000 clients", "observability bench --only memory"), "ours", "ours", 1, {"base_mb": 53.0}
        ),
    ]
    made.left_out["bun"] = "bun not installed; run: npm install bun"
    return made


def test_a_text_table_has_a_row_per_server_and_the_best_comes_first(results: Results) -> None:
    lines = text_tables(results).splitlines()
    assert lines[0] == "Fan-out: 1,000 clients, 2 KB"
    assert [line.split("  ")[0] for line in lines[1:4]] == ["server", "the floor", "FastAPI"]
    assert lines[3].split() == ["FastAPI", "10.00", "2.00", "2.00", "2.00", "-", "-", "9.50"]


def test_the_columns_of_a_text_table_are_aligned(results: Results) -> None:
    table = text_tables(results).splitlines()[1:4]
    assert len({len(line) for line in table}) == 1
    assert table[0].index("x floor") + len("x floor") == table[1].index("1.00  ") + len("1.00")


def test_what_was_not_measured_is_named_with_the_command_that_installs_it(results: Results) -> None:
    assert "not measured: bun: bun not installed; run: npm install bun" in text_tables(results)


def test_a_markdown_table_names_the_command_that_measures_it(results: Results) -> None:
    text = markdown_tables(results)
    assert f"1,000 clients, 2 KB (`{COMMAND}`):" in text
    assert "| FastAPI | 10.00 | 2.00 | 2.00 | 2.00 | - | - | 9.50 |" in text
    assert text.index("### Fan-out") < text.index("### Memory")


def test_markdown_replaces_only_what_stands_between_the_markers(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Title\n\n<!-- bench -->\nold\n<!-- /bench -->\n\nThe end.\n")
    write_markdown(results, path)
    write_markdown(results, path)
    text = path.read_text()
    assert text == f"# Title\n\n<!-- bench -->\n{markdown_tables(results)}<!-- /bench -->\n\nThe end.\n"


def test_a_file_without_markers_is_written_whole(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "tables.md"
    write_markdown(results, path)
    assert path.read_text() == markdown_tables(results)
