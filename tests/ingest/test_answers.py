"""The memory of answers: it keeps the newest by key, within its number of bytes."""

from __future__ import annotations

from observability.ingest.answers import AnswerMemory, IngestAnswer, Remembered


def remembered(size: int) -> Remembered:
    return Remembered(b"print", IngestAnswer(200, b"x" * size), 0)


def test_the_oldest_answers_are_dropped_for_new_ones() -> None:
    memory = AnswerMemory(max_bytes=10_000)
    for number in range(100):
        memory.put(f"k{number}", remembered(840))
    assert len(memory) == 9
    assert memory.get("k90") is None
    assert memory.get("k91") is not None


def test_an_answer_larger_than_the_memory_is_not_kept() -> None:
    memory = AnswerMemory(max_bytes=1_000)
    memory.put("k", remembered(2_000))
    memory.put("l", remembered(10))
    assert memory.get("k") is None
    assert memory.get("l") is not None
