"""The client that asks beside a load: what it notes, and what it says if it is not answered."""

from __future__ import annotations

from typing import Any

import pytest

from http_server import WAIT_SECONDS
from observability.bench.load import Probe
from observability.bench.python_load import nearest_rank
from observability.errors import BenchError


def test_every_answer_of_the_last_seconds_counts_the_shortest_first(server: Any, served: Any) -> None:
    with Probe(server.port, "/large") as probe:
        server.wait_until(lambda: len(served.answers) > 3)
        took = probe.milliseconds(WAIT_SECONDS)
    assert len(took) > 2
    assert took == sorted(took) and took[0] > 0
    with pytest.raises(BenchError, match="no request"):
        probe.milliseconds(0.0)


@pytest.mark.parametrize("path", ["/fail", "/nowhere"])
def test_an_answer_of_another_status_is_a_fault(server: Any, served: Any, path: str) -> None:
    def has_failed() -> bool:
        try:
            probe.milliseconds(WAIT_SECONDS)
        except BenchError as error:
            return "was not answered: HTTP/1.1" in str(error)
        return False

    with Probe(server.port, path) as probe:
        server.wait_until(has_failed)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.99, 4), (0.25, 1), (1, 4)])
def test_a_percentile_is_that_of_the_nearest_rank(share: float, expected: float) -> None:
    assert nearest_rank([1, 2, 3, 4], share) == expected
