"""Custom collectors are registered by name or found as entry points of installed packages."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from observability.errors import ConfigError
from observability.metrics import BaseCollector, register_collector
from observability.metrics import collectors as registry

Install = Callable[..., None]


class CustomCollector(BaseCollector):
    """A minimal collector that records its calls."""

    def __init__(self) -> None:
        super().__init__("custom")
        self.calls: list[str] = []

    async def _start_impl(self) -> None:
        self.calls.append("start")

    async def _stop_impl(self) -> None:
        self.calls.append("stop")

    async def get_current_metrics(self) -> dict[str, Any]:
        return {}


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with collectors as entry points."""

    def install(**entry_points: str) -> None:
        info = tmp_path / "queue_metrics-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: queue-metrics\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entry_points.items()]
        (info / "entry_points.txt").write_text("[observability.collectors]\n" + "\n".join(lines) + "\n")
        (tmp_path / "queue_metrics.py").write_text(
            "from observability.metrics import BaseCollector\n"
            "class QueueCollector(BaseCollector):\n"
            "    def __init__(self): super().__init__('queue')\n"
            "    async def _start_impl(self): pass\n"
            "    async def _stop_impl(self): pass\n"
            "    async def get_current_metrics(self): return {'depth': 3}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "queue_metrics", raising=False)

    return install


def test_a_second_start_or_stop_does_nothing() -> None:
    async def main() -> None:
        collector = CustomCollector()
        for _ in range(2):
            await collector.start()
        assert collector.is_running
        for _ in range(2):
            await collector.stop()
        assert not collector.is_running
        assert collector.calls == ["start", "stop"]

    asyncio.run(main())


def test_a_registered_collector_is_created_under_its_name() -> None:
    register_collector("mine", CustomCollector)
    made = registry.custom_collectors()
    assert isinstance(made["mine"], CustomCollector)


def test_a_name_cannot_be_registered_twice() -> None:
    register_collector("mine", CustomCollector)
    with pytest.raises(ConfigError, match="twice"):
        register_collector("mine", CustomCollector)


def test_a_collector_of_an_installed_package_is_found(install: Install) -> None:
    install(queue="queue_metrics:QueueCollector")
    assert registry.custom_collectors()["queue"].name == "queue"


def test_a_collector_that_cannot_be_imported_is_skipped(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(broken="queue_metrics:Nothing", queue="queue_metrics:QueueCollector")
    with caplog.at_level(logging.ERROR):
        assert registry.custom_collectors().keys() == {"queue"}
    assert "'broken'" in caplog.text


def test_a_collector_that_cannot_be_created_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> BaseCollector:
        raise RuntimeError("no database")

    register_collector("broken", fail)
    register_collector("mine", CustomCollector)
    with caplog.at_level(logging.ERROR):
        assert registry.custom_collectors().keys() == {"mine"}
    assert "no database" in caplog.text


def test_a_registered_collector_replaces_an_installed_one(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install(queue="queue_metrics:QueueCollector")
    register_collector("queue", CustomCollector)
    with caplog.at_level(logging.WARNING):
        assert isinstance(registry.custom_collectors()["queue"], CustomCollector)
    assert "using the registered one" in caplog.text
