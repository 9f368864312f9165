"""The chart: one bar per server, as long as its ratio to the floor."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from observability.bench.chart import MAX_RATIO, svg_chart
from observability.bench.results import Case, Results, Sample

CASE = Case("fanout", "1,000 clients, 2 KB", "")
SVG = "{http://www.w3.org/2000/svg}"


def drawn(**cpu_us: float) -> ElementTree.Element:
    results = Results("1.2.3", "2026-01-01", "observability bench", {})
    results.samples += [Sample(CASE, name, f"<{name}>", 1, {"cpu_us": value}) for name, value in cpu_us.items()]
    return ElementTree.fromstring(svg_chart(results))


def widths(svg: ElementTree.Element) -> dict[str, list[float]]:
    """The lengths of the bars by their kind."""
    found: dict[str, list[float]] = {}
    for bar in svg.iter(f"{SVG}rect"):
        found.setdefault(bar.attrib["class"], []).append(float(bar.attrib["width"]))
    return found


def test_a_bar_is_as_long_as_its_ratio() -> None:
    bars = widths(drawn(floor=5.0, ours=6.0, bun=10.0))
    assert bars["ours"][0] / bars["floor"][0] == pytest.approx(1.2, rel=0.01)
    assert bars["peer"][0] / bars["floor"][0] == pytest.approx(2.0, rel=0.01)


def test_a_bar_beyond_the_scale_is_cut_and_its_number_is_not() -> None:
    svg = drawn(floor=1.0, fastapi=3 * MAX_RATIO)
    bars = widths(svg)
    assert bars["peer"][0] / bars["floor"][0] == pytest.approx(MAX_RATIO, rel=0.01)
    assert any((text.text or "").startswith(f"{3 * MAX_RATIO:.2f} ") for text in svg.iter(f"{SVG}text"))


def test_every_server_is_named_and_the_chart_ends_below_the_last_one() -> None:
    svg = drawn(floor=1.0, ours=2.0)
    names = [text.text for text in svg.iter(f"{SVG}text")]
    assert {"<floor>", "<ours>", CASE.label} <= set(names)
    lowest = max(float(bar.attrib["y"]) + float(bar.attrib["height"]) for bar in svg.iter(f"{SVG}rect"))
    assert lowest < float(svg.attrib["viewBox"].split()[3])


def test_without_a_floor_there_is_nothing_to_compare_with() -> None:
    assert widths(drawn(ours=2.0)) == {}
