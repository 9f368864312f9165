"""The fuzzing loop: seeds are mutated part by part and byte by byte, and a target is called with each result.

A target is a function that raises if an input breaks a property. One number determines all inputs of a run.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

# A seed is a list of parts: mutations move, repeat, drop or replace whole parts before they change bytes.
Seed = Sequence[bytes]
Target = Callable[[bytes, random.Random], None]

MAX_INPUT_BYTES: Final = 64 * 1024
HANG_SECONDS: Final = 20.0
INPUTS_PER_REPORT: Final = 256
REPORT_SECONDS: Final = 30.0

# Bytes at which grammars change their rules.
_BYTES: Final = b"\x00\x09\x0a\x0b\x0d\x1f !\"#%&'()+,-./09:;<=>?@AZ[\\]^_az{|}~\x7f\x80\x85\xa0\xc0\xed\xff"


class Mutator:
    """Makes inputs from seeds and a dictionary of parts that are known to cause trouble."""

    def __init__(self, rng: random.Random, seeds: Sequence[Seed], dictionary: Sequence[bytes]) -> None:
        self._rng = rng
        self._seeds = seeds
        self._dictionary = dictionary

    def next_input(self) -> bytes:
        rng = self._rng
        parts = list(rng.choice(self._seeds))
        while rng.random() < 0.5:
            self._mutate_parts(parts)
        data = bytearray(b"".join(parts))
        while rng.random() < 0.4:
            self._mutate_bytes(data)
        return bytes(data[:MAX_INPUT_BYTES])

    def _mutate_parts(self, parts: list[bytes]) -> None:
        rng = self._rng
        at = int(rng.random() * (len(parts) + 1))
        if at == 0 and rng.random() < 0.7:
            # An input with a broken first part seldom gets as far as the other parts.
            return
        choice = int(rng.random() * 6)
        if choice == 0:
            parts.insert(at, rng.choice(self._dictionary))
        elif choice == 1:
            parts[at : at + 1] = [rng.choice(self._dictionary)]
        elif choice == 2:
            del parts[at : at + 1]
        elif choice == 3:
            parts[at:at] = parts[at : at + 1]
        elif choice == 4:
            other = rng.choice(self._seeds)
            parts[at:] = other[int(rng.random() * (len(other) + 1)) :]
        elif parts:
            other_at = int(rng.random() * len(parts))
            at = min(at, len(parts) - 1)
            parts[at], parts[other_at] = parts[other_at], parts[at]

    def _mutate_bytes(self, data: bytearray) -> None:
        rng = self._rng
        at = int(rng.random() * (len(data) + 1))
        choice = int(rng.random() * 7)
        if choice == 0:
            data[at:at] = bytes((rng.choice(_BYTES),))
        elif choice == 1:
            data[at : at + 1] = bytes((rng.choice(_BYTES),))
        elif choice == 2:
            del data[at : at + 1 + int(rng.random() * 4)]
        elif choice == 3 and at < len(data):
            data[at] ^= 1 << int(rng.random() * 8)
        elif choice == 4:
            end = at + int(rng.random() * 16)
            data[at:at] = data[at:end]
        elif choice == 5:
            data[at:at] = rng.choice(self._dictionary)
        elif rng.random() < 0.05:
            # Long enough to reach the limits.
            data[at:at] = (data[at : at + 2] or b"a") * (1 << int(rng.random() * 14))


class Finding(AssertionError):
    """An input that broke a property of the target."""

    def __init__(self, data: bytes, number: int, seed: int) -> None:
        shown = repr(data) if len(data) <= 4000 else f"{data[:4000]!r}... ({len(data)} bytes)"
        super().__init__(f"input {number} of seed {seed}: {shown}")


def fuzz(
    target: Target,
    seeds: Sequence[Seed],
    dictionary: Sequence[bytes],
    *,
    inputs: int,
    seed: int = 1,
    report: Callable[[str], None] | None = None,
) -> None:
    """Calls `target` with every seed, then with mutated ones, `inputs` in all; raises Finding for one that it fails.

    A target that hangs for `HANG_SECONDS` fails too. Call this from the main thread, which gets the alarm.
    """
    rng = random.Random(seed)
    mutator = Mutator(rng, seeds, dictionary)
    plain = iter(seeds)
    started = next_report = time.monotonic()
    previous = signal.signal(signal.SIGALRM, _on_alarm)
    try:
        for number in range(inputs):
            if number % INPUTS_PER_REPORT == 0 and report is not None and time.monotonic() >= next_report:
                report(f"{number} inputs, {time.monotonic() - started:.0f} s")
                next_report += REPORT_SECONDS
            parts = next(plain, None)
            data = mutator.next_input() if parts is None else b"".join(parts)
            signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
            try:
                target(data, rng)
            except Exception as error:
                raise Finding(data, number, seed) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    if report is not None:
        report(f"{inputs} inputs, {time.monotonic() - started:.0f} s, nothing found")


def _on_alarm(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"the target has not answered after {HANG_SECONDS} s")


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    """Returns `data` in random segments: sometimes single bytes if it is short, otherwise a few pieces."""
    if len(data) < 200 and rng.random() < 0.2:
        return [data[i : i + 1] for i in range(len(data))]
    points = sorted(int(rng.random() * (len(data) + 1)) for _ in range(1 + int(rng.random() * 4)))
    return [data[start:end] for start, end in zip([0, *points], [*points, len(data)], strict=True) if start < end]


def main(
    target: Target, seeds: Sequence[Seed], dictionary: Sequence[bytes], description: str | None, inputs: int = 100_000
) -> None:
    """Runs the command line of a target."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--inputs", type=int, default=inputs)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    def report(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    fuzz(target, seeds, dictionary, inputs=args.inputs, seed=args.seed, report=report)
