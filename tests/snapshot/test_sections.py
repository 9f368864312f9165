"""A part that holds JSON: its version rises exactly when its object changes, and is never used twice."""

from __future__ import annotations

from observability.snapshot.sections import JsonPart


def test_the_version_rises_only_when_the_object_changes() -> None:
    part = JsonPart()
    part.offer({"bid": 1.0})
    first = part.version
    part.offer({"bid": 1.0})
    assert part.version == first
    part.offer({"bid": 2.0})
    assert part.version > first
    assert part.to_json() == {"bid": 2.0}


def test_a_part_that_replaces_another_never_repeats_its_version() -> None:
    versions = []
    for _ in range(3):
        part = JsonPart()
        part.offer({})
        versions.append(part.version)
    assert len(set(versions)) == 3


def test_a_part_without_an_object_is_empty() -> None:
    assert JsonPart().to_json() == {}
