"""The servers that are compared: which of them can run here, and how they are started."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from observability.bench import contenders
from observability.bench.compiler import Programs, compile_programs
from observability.bench.contenders import Contender, Launch, all_contenders


def by_key(programs: Programs | None = None) -> dict[str, Contender]:
    return {contender.key: contender for contender in all_contenders(programs or Programs(None, None))}


def launch(folder: Path) -> Launch:
    return Launch(8123, folder / "snapshot.json", 50, 100, folder)


def test_a_peer_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(contenders, "find_spec", lambda _: None)
    monkeypatch.setattr(contenders.shutil, "which", nothing)
    found = by_key()
    assert found["aiohttp"].missing == "aiohttp not installed; run: pip install aiohttp"
    assert found["fastapi"].missing.endswith("not installed; run: pip install fastapi 'uvicorn[standard]'")
    for key, program in (("node-ws", "node"), ("bun", "bun"), ("nginx", "nginx")):
        assert found[key].missing.startswith(f"{program} not installed; run: ")
    assert all("\n" not in contender.missing for contender in found.values())


def test_without_a_compiler_the_floor_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    programs = compile_programs(tmp_path)
    assert (programs.load, programs.floor) == (None, None)
    expected = "no C compiler found; run: apt-get install" if sys.platform == "linux" else "need Linux"
    assert expected in by_key(programs)["floor"].missing


def test_settings_of_the_user_do_not_reach_our_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    monkeypatch.setenv("API_TOKENS", "write:secret")
    ours = next(contender for contender in all_contenders(Programs(None, None)) if contender.is_ours)
    variables = ours.variables(launch(tmp_path))
    assert not {"DATA_DIR", "API_TOKENS"} & variables.keys()
    assert variables["MAX_SYMBOLS"] == "64"
    assert "PATH" in variables


def test_the_configuration_of_nginx_has_nothing_left_to_fill_in(tmp_path: Path) -> None:
    by_key()["nginx"].command(launch(tmp_path))
    text = (tmp_path / "nginx.conf").read_text()
    assert "@" not in text
    assert "listen 127.0.0.1:8123 " in text


def test_every_broadcast_engine_is_a_row_of_its_own() -> None:
    engines = {
        contender.key: contender.environment["BROADCAST"] for contender in by_key().values() if contender.is_ours
    }
    assert engines == {"ours-picows": "picows", "ours-uring": "uring"}


def test_io_uring_is_left_out_where_the_kernel_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(max_sockets: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(contenders, "SendRing", refuse)
    assert by_key()["ours-uring"].missing.startswith("the kernel gives no io_uring (Operation not permitted)")
