"""The arithmetic of the benchmark: medians over rounds, and ratios to the base of the same round."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.bench.results import Case, Results, Sample, cases_of, rows_of
from observability.errors import BenchError

CASE = Case("fanout", "1,000 clients, 2 KB", "observability bench --only fanout")
OTHER = Case("fanout", "5,000 clients, 2 KB", "observability bench --only fanout")


def sample(contender: str, round_: int, case: Case = CASE, **values: float) -> Sample:
    return Sample(case, contender, contender.title(), round_, values)


def test_a_value_is_the_median_of_its_rounds() -> None:
    samples = [sample("ours", number, cpu_us=value) for number, value in enumerate((9.0, 30.0, 10.0), 1)]
    (row,) = rows_of(samples, CASE, "floor")
    assert (row.contender, row.label, row.rounds, row.values) == ("ours", "Ours", 3, {"cpu_us": 10.0})


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    floors, ours = (5.0, 10.0, 20.0), (15.0, 90.0, 20.0)
    samples = [sample("floor", number, cpu_us=value) for number, value in enumerate(floors, 1)]
    samples += [sample("ours", number, cpu_us=value) for number, value in enumerate(ours, 1)]
    floor, row = rows_of(samples, CASE, "floor")
    # 3, 9 and 1; their mean would be 4.3, and the ratio of the medians 2.
    assert row.ratios == {"cpu_us": 3.0}
    assert floor.ratios == {"cpu_us": 1.0}


def test_a_round_without_the_base_has_no_part_in_the_ratio() -> None:
    samples = [sample("floor", 1, cpu_us=5.0), sample("ours", 1, cpu_us=10.0), sample("ours", 2, cpu_us=500.0)]
    assert rows_of(samples, CASE, "floor")[1].ratios == {"cpu_us": 2.0}


@pytest.mark.parametrize("base", [{}, {"cpu_us": 0.0}])
def test_without_a_value_of_the_base_there_is_no_ratio(base: dict[str, float]) -> None:
    samples = [sample("floor", 1, **base), sample("ours", 1, cpu_us=10.0)]
    assert rows_of(samples, CASE, "floor")[1].ratios == {}


def test_a_value_that_some_rounds_lack_is_the_median_of_the_others() -> None:
    samples = [sample("ours", 1, p99_ms=3.0), sample("ours", 2), sample("ours", 3, p99_ms=5.0)]
    assert rows_of(samples, CASE, "floor")[0].values == {"p99_ms": 4.0}


def test_cases_do_not_mix() -> None:
    samples = [sample("ours", 1, cpu_us=10.0), sample("ours", 1, OTHER, cpu_us=8.0)]
    assert cases_of(samples) == [CASE, OTHER]
    assert rows_of(samples, OTHER, "floor")[0].values == {"cpu_us": 8.0}


def test_results_that_are_written_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = Results("1.0", "2026-01-01T00:00:00+00:00", "observability bench", {"cpu": "one"})
    results.samples.append(sample("ours", 1, cpu_us=10.0))
    results.left_out["bun"] = "not installed"
    results.add_note("a note")
    results.add_note("a note")
    results.write(path)
    assert Results.read(path) == results
    assert results.notes == ["a note"]


@pytest.mark.parametrize("content", [None, b"", b'{"version": 1}'])
def test_a_file_that_is_not_results_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=r"other\.json"):
        Results.read(path)
