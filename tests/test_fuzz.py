"""A short run of every fuzz target, with the same inputs each time, and the fuzzing loop itself.

Long runs are for the command line: `PYTHONPATH=tests/support python -m fuzz.requests --inputs 10000000`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from fuzz import chunks, frames, fuzzing, ingest, messages, parameters, requests, served, subscriptions, times
from fuzz.fuzzing import Finding, cut, fuzz


@pytest.fixture(scope="module")
def _server() -> Iterator[None]:
    """Starts the server that targets share, whose start would count as a part of the first input, and stops it."""
    served.server()
    yield
    log = served.server().stop()
    assert served.faults(log) == []


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        (requests, 4_000),
        (chunks, 8_000),
        (parameters, 2_000),
        (times, 8_000),
        (subscriptions, 8_000),
        (ingest, 1_500),
    ],
    ids=["requests", "chunks", "parameters", "times", "subscriptions", "ingest"],
)
def test_parsers_withstand_every_input(target: object, inputs: int) -> None:
    fuzz(target.check, target.SEEDS, target.DICTIONARY, inputs=inputs)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_server")
def test_the_server_withstands_every_sequence_of_frames() -> None:
    fuzz(frames.check, frames.SEEDS, frames.DICTIONARY, inputs=500)


@pytest.mark.usefixtures("_server")
def test_the_stream_withstands_every_message() -> None:
    fuzz(messages.check, messages.SEEDS, messages.DICTIONARY, inputs=1_000, seed=2)


def test_the_same_seed_gives_the_same_inputs() -> None:
    runs: list[list[bytes]] = [[], [], []]
    for run, seed in zip(runs, (1, 1, 2), strict=True):

        def collect(data: bytes, rng: random.Random, run: list[bytes] = run) -> None:
            run.append(data)

        fuzz(collect, requests.SEEDS, requests.DICTIONARY, inputs=500, seed=seed)
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][: len(requests.SEEDS)] == [b"".join(seed) for seed in requests.SEEDS]


def test_a_finding_names_the_input_and_its_cause() -> None:
    def refuse_two_hosts(data: bytes, rng: random.Random) -> None:
        assert data.count(b"Host: ") < 2, "two hosts"

    with pytest.raises(Finding, match="Host: ") as caught:
        fuzz(refuse_two_hosts, [(b"Host: a\r\n", b"\r\n")], [b"X: y\r\n"], inputs=10_000)
    assert str(caught.value.__cause__).startswith("two hosts")


def test_a_target_that_hangs_on_one_input_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "HANG_SECONDS", 0.05)

    def hang(data: bytes, rng: random.Random) -> None:
        threading.Event().wait(600)

    with pytest.raises(Finding) as caught:
        fuzzing.fuzz(hang, [(b"a",)], [b"b"], inputs=2)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_cut_segments_join_to_the_input() -> None:
    rng = random.Random(1)
    for size in range(300):
        data = bytes(rng.randrange(256) for _ in range(size))
        segments = cut(data, rng)
        assert b"".join(segments) == data
        assert all(segments)
