"""The programs in C, the load generator and the floor, compiled on the spot where a compiler is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from observability.errors import BenchError

SOURCES: Final = Path(__file__).parent / "programs"
COMPILERS: Final = ("cc", "gcc", "clang")
FLAGS: Final = ("-O2", "-Wall", "-Wextra")
COMPILE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Programs:
    """The compiled programs; None without a compiler, and `why` says so."""

    load: Path | None
    floor: Path | None
    why: str = ""


def compile_programs(folder: Path, *, may_compile: bool = True) -> Programs:
    """Compiles both programs into `folder`."""
    if not may_compile:
        return Programs(None, None, "--no-compiler was given")
    if sys.platform != "linux":
        return Programs(None, None, f"the programs in C need Linux, and this is {sys.platform}")
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return Programs(None, None, "no C compiler found; run: apt-get install gcc libc6-dev")
    return Programs(_compile(compiler, "load", folder), _compile(compiler, "floor", folder))


def _compile(compiler: str, name: str, folder: Path) -> Path:
    output = folder / name
    command = [compiler, *FLAGS, "-o", str(output), str(SOURCES / f"{name}.c")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    if result.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{result.stderr.strip()}")
    return output
