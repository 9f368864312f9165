"""The setup of logging: the lines, the files, and the ring in memory."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.config.config import Config
from observability.errors import ConfigError
from observability.logs.files import BACKUP_FILES, MAX_FILE_BYTES
from observability.logs.log_ring import LogRing
from observability.logs.repeats import REPEATS_PER_MINUTE, RepeatFilter
from observability.logs.setup import configure_logging, reopen_log_files

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ +\S+: .*")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root, picows = logging.getLogger(), logging.getLogger("picows")
    handlers, levels = root.handlers[:], (root.level, picows.level)
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    picows.setLevel(levels[1])


def lines_of(stderr: str) -> list[str]:
    return stderr.removesuffix("\n").split("\n")


def messages(ring: LogRing) -> list[str]:
    """Returns the messages in a ring, newest first."""
    return [orjson.loads(b"{%b}" % line.members)["message"] for line in ring.newest()]


# -- lines


def test_a_record_is_one_line_with_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Config())
    logger = logging.getLogger("observability.snapshot.hub")
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 1, "started with %d symbols", (3,), None)
    record.created = 1_761_084_000.1235
    logger.handle(record)
    assert capsys.readouterr().err == "2025-10-21T22:00:00.123Z INFO     snapshot.hub: started with 3 symbols\n"


def test_a_logger_of_another_package_keeps_its_whole_name(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Config())
    logging.getLogger("asyncio.events").warning("slow")
    assert " asyncio.events: slow" in capsys.readouterr().err


@given(st.text(st.characters()), st.text(st.characters()))
def test_text_from_a_peer_cannot_start_a_line(argument: str, name: str) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        configure_logging(Config())
        logging.getLogger(name).error("refused: %s", argument)
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]", line)
    line.encode()


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Config())
    logging.getLogger("x").error("a\r\nb\x1b[2J\u2028\u202e\ud800\ttail")
    assert lines_of(capsys.readouterr().err)[0].endswith(r"x: a\x0d\x0ab\x1b[2J\u2028\u202e\ud800\x09tail")


def test_a_traceback_is_indented_and_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Config())
    try:
        raise ValueError("boom\n2025-10-21T22:00:00.123Z INFO     auth: granted\x1b[2J")
    except ValueError:
        logging.getLogger("x").exception("failed")
    first, *rest = lines_of(capsys.readouterr().err)
    assert LINE.fullmatch(first)
    assert len(rest) > 3
    assert all(line.startswith("    | ") for line in rest)
    assert rest[-1] == r"    | 2025-10-21T22:00:00.123Z INFO     auth: granted\x1b[2J"


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    ring = configure_logging(Config(log_level="WARNING"))
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    assert len(lines_of(capsys.readouterr().err)) == 1
    assert messages(ring) == ["loud"]


@pytest.mark.parametrize(("level", "seen"), [("DEBUG", ["kept"]), ("ERROR", [])])
def test_picows_logs_warnings_at_least_or_our_own_level(level: str, seen: list[str]) -> None:
    ring = configure_logging(Config(log_level=level))
    logging.getLogger("picows.client.1").info("connected")
    logging.getLogger("picows.client.1").warning("kept")
    assert messages(ring) == seen


def test_a_second_call_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    first = configure_logging(Config())
    second = configure_logging(Config())
    logging.getLogger("x").warning("once")
    assert len(lines_of(capsys.readouterr().err)) == 1
    assert (messages(first), messages(second)) == ([], ["once"])


def test_handlers_of_other_packages_stay() -> None:
    theirs = logging.NullHandler()
    logging.getLogger().addHandler(theirs)
    configure_logging(Config())
    assert theirs in logging.getLogger().handlers


# -- files


def test_a_log_directory_is_created_and_receives_the_same_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Config(log_dir=tmp_path / "a" / "b"))
    logging.getLogger("x").warning("once")
    stderr = capsys.readouterr().err
    assert len(lines_of(stderr)) == 1
    assert (tmp_path / "a" / "b" / "observability.log").read_text() == stderr


def test_each_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    configure_logging(Config(log_dir=tmp_path), process="worker-1")
    logging.getLogger("x").warning("mine")
    assert "mine" in (tmp_path / "observability-worker-1.log").read_text()


def test_files_are_rotated_and_limited_in_number_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("observability.logs.files.MAX_FILE_BYTES", 1000)
    configure_logging(Config(log_dir=tmp_path))
    for number in range(200):
        logging.getLogger("x").warning(f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + BACKUP_FILES
    assert all(file.stat().st_size <= 1000 for file in files)
    assert MAX_FILE_BYTES * (1 + BACKUP_FILES) == 60_000_000


@pytest.mark.parametrize("how", ["moved away", "removed", "removed with its directory"])
def test_a_file_that_is_gone_is_made_again_for_the_next_record(tmp_path: Path, how: str) -> None:
    directory = tmp_path / "logs"
    configure_logging(Config(log_dir=directory))
    logging.getLogger("x").warning("before")
    file = directory / "observability.log"
    if how == "moved away":
        file.rename(directory / "observability.log.1")
    else:
        file.unlink()
    if how == "removed with its directory":
        directory.rmdir()
    logging.getLogger("x").warning("after")
    assert [line.partition(": ")[2] for line in lines_of(file.read_text())] == ["after"]


def test_a_reopened_file_is_there_before_the_next_record(tmp_path: Path) -> None:
    configure_logging(Config(log_dir=tmp_path, log_level="ERROR"))
    file = tmp_path / "observability.log"
    file.rename(tmp_path / "moved")
    reopen_log_files()
    assert file.exists()


def test_a_file_that_cannot_be_made_again_keeps_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "logs"
    configure_logging(Config(log_dir=directory))
    directory.rename(tmp_path / "moved")
    directory.touch()  # a file in the place of the directory
    for number in range(3):
        logging.getLogger("x").warning("line %d", number)
    kept = (tmp_path / "moved" / "observability.log").read_text()
    assert [number for number in range(3) if f"line {number}" in kept] == [0, 1, 2]
    assert capsys.readouterr().err.count("cannot be opened") == 1


def test_an_unwritable_log_directory_is_a_configuration_fault(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(ConfigError) as raised:
        configure_logging(Config(log_dir=in_the_way / "logs"))
    assert raised.value.faults[0].startswith(f"LOG_DIR: {str(in_the_way / 'logs')!r}, expected a writable directory")


def test_a_failed_setup_leaves_the_previous_one_in_place(tmp_path: Path) -> None:
    ring = configure_logging(Config())
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        configure_logging(Config(log_dir=tmp_path / "file" / "logs"))
    logging.getLogger("x").warning("still here")
    assert messages(ring) == ["still here"]


# -- ring


def test_an_exception_is_named_in_its_line() -> None:
    ring = configure_logging(Config())
    try:
        raise KeyError("AAPL")
    except KeyError:
        logging.getLogger("x").exception("failed")
    assert messages(ring) == ["failed (KeyError: 'AAPL')"]


def test_the_given_ring_receives_the_lines() -> None:
    ring = LogRing()
    assert configure_logging(Config(), ring=ring) is ring
    logging.getLogger("x").warning("kept")
    assert messages(ring) == ["kept"]


# -- repeats


def test_a_line_that_repeats_is_limited_wherever_it_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("observability.logs.setup.RepeatFilter", lambda: RepeatFilter(lambda: 0))
    ring = configure_logging(Config())
    for number in range(REPEATS_PER_MINUTE * 2):
        logging.getLogger("x").warning("line %d", number)
    assert len(lines_of(capsys.readouterr().err)) == len(messages(ring)) == REPEATS_PER_MINUTE


# -- what Python prints by itself

STRAY = """
import sys, threading, warnings
from observability.config.config import Config
from observability.logs.setup import configure_logging, log_stray_output

configure_logging(Config(log_format="json"))
log_stray_output()

class Failing:
    def __del__(self):
        raise ValueError("in a destructor")

Failing()
warnings.warn("a warning")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("at the end")
"""


def test_what_python_prints_by_itself_is_lines_of_json_too() -> None:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", STRAY], env=variables, capture_output=True, text=True)
    lines = [orjson.loads(line) for line in ended.stderr.splitlines()]
    assert [line.get("error") for line in lines] == [
        "ValueError: in a destructor", None, "ZeroDivisionError: division by zero", "ValueError: at the end"
    ]  # fmt: skip
    assert "a warning" in lines[1]["message"]
    assert ended.returncode == 1
