"""What holds for every test: in CI a skipped test is a failure, no property is judged by the time it takes, and the
processes that tests start share their bytecode.

No fixtures here; tests make what they need.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# A real server on a loop of its own, for all tests of what a connection sees.
pytest_plugins = ["http_server"]

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# Enough to find the faults that any hundred would; a larger number is for the command line.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "50"))

hypothesis.settings.register_profile("project", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("project")


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the bytecode of a run where none may be written beside the sources. Without it each of the hundreds of
    servers compiles every module anew, which takes as long as all else that a start does."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.TemporaryDirectory(prefix="observability-bytecode-")
        config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives each process of `pytest -n 3` whole files, whose tests share servers, one after the other in their order.
    In the order of pytest-xdist, by the number of tests, a file of few and long ones would be the last."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test that skips itself: in CI the recordings are there, so a skip hides something."""
    report = yield
    # Reports go to the first process as UTF-8, and some tests log text that is none.
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fails a module that skips itself as a whole."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
