"""What holds for the source tree as a whole: its layout, its imports, the size of its folders and modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = (ROOT / "core", ROOT / "http")

# Modules and sub-packages of one folder, so that it can be taken in at a glance.
MAX_ENTRIES = 14
MAX_DOCSTRING_LINES = 3
# A module of fewer lines is half an idea, except for these.
MIN_LINES = 25
SHORT_MODULES = {
    "observability.__main__": "the command's other name",
    "observability.encoding": "the one way to write JSON, below everything else",
    "observability.version": "read by the build, too",
}
PEERS = "observability.bench.peers."
# These re-export their public names.
RE_EXPORTING = {"observability.clients", "observability.metrics", "observability.sources"}


def modules() -> Iterator[tuple[str, Path]]:
    """Yields the dotted name and the file of every module."""
    for source_root in SOURCE_ROOTS:
        for path in sorted(source_root.rglob("*.py")):
            parts = path.relative_to(source_root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(path: Path) -> Iterator[str]:
    """Yields the dotted name of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return loaded


def run(code: str, *, path: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in the repository's root, which is then first on its path; `path` is PYTHONPATH."""
    environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "directory", ["core", "http", "core/observability", "http/observability", "tests", "tests/support"]
)
def test_a_directory_that_could_shadow_another_package_has_no_init(directory: str) -> None:
    assert (ROOT / directory).is_dir()
    assert not (ROOT / directory / "__init__.py").exists()


def test_every_folder_of_modules_is_marked_as_typed() -> None:
    # In the wheel both source roots are one folder, so one of them has the marker.
    folders = {path.parent for _, path in modules()} - {ROOT / "http" / "observability"}
    assert ROOT / "core" / "observability" in folders
    assert [str(folder) for folder in folders if not (folder / "py.typed").is_file()] == []


def test_the_standard_http_library_is_not_shadowed_in_the_repository_root() -> None:
    result = run("import http.client, http.server; print(http.client.__file__)", path="")
    assert result.returncode == 0, result.stderr
    assert str(ROOT) not in result.stdout


def test_everything_below_http_works_without_it() -> None:
    names = [name for name, path in modules() if path.is_relative_to(ROOT / "core")]
    blocked = {name for name, path in modules() if path.is_relative_to(ROOT / "http")}
    result = run(
        "import importlib, sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {blocked!r}:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n",
        path=":".join(map(str, SOURCE_ROOTS)),
    )
    assert names
    assert result.returncode == 0, result.stderr


def test_only_declared_dependencies_are_imported() -> None:
    extras = project()["optional-dependencies"]
    declared = list(project()["dependencies"])
    declared += [
        one for extra, requirements in extras.items() if extra not in ("test", "bench") for one in requirements
    ]
    allowed = _top_modules(declared)
    # A peer of the benchmark runs in a process of its own, and only where its extra is installed.
    allowed_of_peers = allowed | _top_modules(extras["bench"])
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules()
        for imported in imports_of(path)
        if (top := imported.split(".")[0]) not in sys.stdlib_module_names
        and top not in ("observability", "__future__")
        and top not in (allowed_of_peers if name.startswith(PEERS) else allowed)
    ]
    assert wrong == []


def _top_modules(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_-]", requirement)[0].replace("-", "_").lower() for requirement in requirements}


def test_a_folder_has_about_a_dozen_entries_at_most() -> None:
    # The docstring of a package counts as an entry of the folder above it.
    folders = Counter(path.parent.parent if path.name == "__init__.py" else path.parent for _, path in modules())
    for source_root in SOURCE_ROOTS:
        del folders[source_root / "observability"]
    assert folders
    assert {str(folder): entries for folder, entries in folders.items() if entries > MAX_ENTRIES} == {}


def test_a_package_is_a_docstring_of_a_few_lines() -> None:
    inits = {name: ast.parse(path.read_bytes()) for name, path in modules() if path.name == "__init__.py"}
    assert {name for name, tree in inits.items() if len(tree.body) > 1} == RE_EXPORTING
    lengths = {name: len((ast.get_docstring(tree) or "").splitlines()) for name, tree in inits.items()}
    assert {name: lines for name, lines in lengths.items() if not 1 <= lines <= MAX_DOCSTRING_LINES} == {}


def test_no_module_is_half_an_idea() -> None:
    lengths = {name: len(path.read_bytes().splitlines()) for name, path in modules() if path.name != "__init__.py"}
    assert {name for name, lines in lengths.items() if lines < MIN_LINES} == SHORT_MODULES.keys()


def test_every_module_says_what_it_is() -> None:
    assert [name for name, path in modules() if not ast.get_docstring(ast.parse(path.read_bytes()))] == []


def test_no_module_is_a_drawer() -> None:
    assert [name for name, _ in modules() if name.rpartition(".")[2] in ("utils", "util", "helpers", "misc")] == []


def test_nothing_is_left_for_later() -> None:
    left = re.compile(rb"\b(TO" + rb"DO|FIX" + rb"ME)\b")
    files = [path for folder in ("core", "http", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if left.search(path.read_bytes())] == []
