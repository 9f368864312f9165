"""The files of the page: complete, vendored as they were published, small, and never of two versions."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from pathlib import Path

import pytest

from observability.http11.messages import Request
from observability.http11.parser import RequestParser
from observability.http11.refusals import NotFound
from observability.web.assets import Assets
from server_process import ROOT

STATIC = ROOT / "http/observability/web/static"
MAX_FIRST_LOAD_BYTES = 150 * 1024
MAX_ENTRIES = 14
MODULES = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)


def test_vendored_files_are_those_of_their_packages() -> None:
    listed = dict(reversed(line.split()) for line in (STATIC / "vendor/SHA256SUMS").read_text().splitlines())
    found = {path.name: path for path in (STATIC / "vendor").iterdir() if path.name != "SHA256SUMS"}
    assert found.keys() == listed.keys()
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()} == listed
    # The file that npm has of this version.
    assert listed["uPlot-1.6.32.iife.min.js"] == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
    assert any("LICENSE" in name for name in listed)


def test_the_first_load_of_the_page_is_small() -> None:
    page = Assets(STATIC).page("index.html", ()).answer(_request(accepts_gzip=False)).body.decode()
    names = set(re.findall(r'(?:src|href)="/static/[0-9a-f]+/([^"]+)"', page))
    assert {"app.js", "app.css", "client.js"} < names
    sizes = {name: len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names}
    assert sum(sizes.values()) <= MAX_FIRST_LOAD_BYTES, sizes


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_imports_files_that_there_are_by_relative_paths(path: Path) -> None:
    name = path.relative_to(STATIC).as_posix()
    for imported in re.findall(r'^(?:import|export)\b[^;]*?from "([^"]+)";', path.read_text(), re.MULTILINE):
        assert imported.startswith("."), imported
        assert (STATIC / posixpath.normpath(posixpath.join(posixpath.dirname(name), imported))).is_file(), imported


def test_no_table_of_the_page_has_the_names_that_every_object_has() -> None:
    sources = {path: path.read_text() for path in MODULES}
    whole = "\n".join(sources.values())
    tables = [
        (path.name, name, braces)
        for path, source in sources.items()
        for name, braces in re.findall(r"\b([A-Z][A-Z_]+) = (\{\s*\S+ \S+)", source)
        if re.search(rf"\b{name}\[|\bin {name}\b", whole)
    ]
    assert len(tables) > 15
    assert [table for table in tables if "__proto__: null" not in table[2]] == []


def test_a_folder_of_the_page_has_about_a_dozen_entries_at_most() -> None:
    folders = [STATIC, *(path for path in STATIC.rglob("*") if path.is_dir())]
    assert {folder.name: count for folder in folders if (count := len(list(folder.iterdir()))) > MAX_ENTRIES} == {}


def test_a_change_of_any_file_moves_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "js/a.js").write_text("1")
    (tmp_path / "b.css").write_text("2")
    before = Assets(tmp_path)
    (tmp_path / "js/a.js").write_text("3")
    after = Assets(tmp_path)
    assert before.build != after.build
    with pytest.raises(NotFound):
        after.find(before.build, "b.css")
    assert after.find(after.build, "b.css").answer(_request(accepts_gzip=False)).body == b"2"


def test_a_page_is_not_kept_and_so_not_found_among_the_files() -> None:
    assets = Assets(STATIC)
    with pytest.raises(NotFound):
        assets.find(assets.build, "index.html")


def test_a_browser_that_takes_gzip_gets_the_same_bytes_compressed() -> None:
    assets = Assets(STATIC)
    asset = assets.find(assets.build, "app.js")
    plain, compressed = (asset.answer(_request(accepts_gzip=each)) for each in (False, True))
    assert gzip.decompress(compressed.body) == plain.body
    assert dict(compressed.headers) == {
        b"Cache-Control": b"public, max-age=31536000, immutable",
        b"Content-Encoding": b"gzip",
    }


def _request(*, accepts_gzip: bool) -> Request:
    fields = b"Accept-Encoding: gzip\r\n" if accepts_gzip else b""
    parser = RequestParser()
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    request = parser.next_request()
    assert request is not None
    return request
