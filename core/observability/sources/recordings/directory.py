"""The recordings that paths name: a file is one recording, and a directory all that are in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from observability.clocks.clock import Clock
from observability.errors import MissingPackage, SourceError
from observability.sources.recordings import lobster
from observability.sources.recordings.recording import Recording

logger = logging.getLogger(__name__)

COMPRESSED: Final = (".gz", ".zst")
MAX_NAMES_LOGGED: Final = 20


def open_recordings(paths: Sequence[str | Path], clock: Clock) -> tuple[Recording, ...]:
    """Returns the recordings in the order of `paths`, those of a directory in the order of their paths within it.

    Files of a directory that are no recordings are named in one warning. Raises SourceError for a file among `paths`
    that is no recording, and for a directory without any.
    """
    recordings: list[Recording] = []
    for path in map(Path, paths):
        if path.is_dir():
            recordings += _in_directory(path, clock)
        else:
            recordings.append(Recording(path, clock))
    return tuple(recordings)


def _in_directory(directory: Path, clock: Clock) -> list[Recording]:
    recordings: list[Recording] = []
    unknown: list[str] = []
    for path, copy in _files(directory):
        if copy is not None:
            unknown.append(f"{path} (a copy of {copy.name})")
            continue
        try:
            recordings.append(Recording(path, clock))
        except MissingPackage:
            raise
        except SourceError as error:
            if not lobster.belongs_to_message_file(path):
                unknown.append(str(error))
    if not recordings:
        raise SourceError(f"{directory}: no recording is in this directory")
    if unknown:
        named = "; ".join(unknown[:MAX_NAMES_LOGGED])
        further = f" and {len(unknown) - MAX_NAMES_LOGGED} more" if len(unknown) > MAX_NAMES_LOGGED else ""
        logger.warning("%s: not replayed: %s%s", directory, named, further)
    logger.info("%s: replaying %d recordings", directory, len(recordings))
    return recordings


def _files(directory: Path) -> Iterable[tuple[Path, Path | None]]:
    """Yields the files in a directory and below it, but not hidden ones, in order; and for a compressed file, the plain
    file of the same name beside it, if there is one."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = {name for name in names if not name.startswith(".")}
        for name in sorted(found):
            plain = name
            for suffix in COMPRESSED:
                plain = plain.removesuffix(suffix)
            yield Path(folder, name), Path(folder, plain) if plain != name and plain in found else None
