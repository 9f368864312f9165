"""The files of the page: read once, compressed once, and served under a path that names their content.

/static/BUILD/app.js   BUILD is a hash of all files together, so that modules find one another by relative paths, a
                       browser may keep them for ever, and no page mixes two versions.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import Final

from observability.http11.messages import Request, Response
from observability.http11.refusals import Headers, NotFound

_BUILD_LENGTH: Final = 16
# Of text that is compressed once, at the start.
_GZIP_LEVEL: Final = 9
_MEDIA_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "json": b"application/json",
    "svg": b"image/svg+xml",
    "ts": b"text/plain; charset=utf-8",
}
_PLAIN_TEXT: Final = b"text/plain; charset=utf-8"
_KEPT: Final = ((b"Cache-Control", b"public, max-age=31536000, immutable"),)
# What a page has in the place of the hash, and of the links that load its modules at once rather than one by one.
_BUILD_MARK: Final = b"{build}"
_START_MARK: Final = b"{start_time}"
_MODULES_MARK: Final = b"<!-- modules -->"
# What is no module, and what belongs to the API reference.
_NOT_PRELOADED: Final = ("vendor/", "docs")


class Asset:
    """One file, as it is and compressed."""

    __slots__ = ("_compressed", "_plain")

    def __init__(self, body: bytes, media_type: bytes, headers: Headers) -> None:
        self._plain = Response(body=body, content_type=media_type, headers=headers)
        self._compressed = Response(
            body=gzip.compress(body, _GZIP_LEVEL, mtime=0),
            content_type=media_type,
            headers=(*headers, (b"Content-Encoding", b"gzip")),
        )

    def answer(self, request: Request) -> Response:
        return self._compressed if request.accepts_gzip else self._plain


class Assets:
    """All files of a folder and its folders."""

    def __init__(self, folder: Traversable) -> None:
        self._files = dict(_files(folder))
        digest = hashlib.sha256()
        for name, body in sorted(self._files.items()):
            digest.update(b"%b\0%d\0%b" % (name.encode(), len(body), body))
        self.build = digest.hexdigest()[:_BUILD_LENGTH]
        self._assets = {
            name: Asset(body, _media_type(name), _KEPT)
            for name, body in self._files.items()
            if not name.endswith(".html")
        }

    def page(self, name: str, headers: Headers, start_time: str = "") -> Asset:
        """Returns a page, whose links name the files of this build. One with a `start_time` begins there."""
        modules = b"\n".join(
            b'<link rel="modulepreload" href="/static/%b/%b">' % (_BUILD_MARK, path.encode())
            for path in sorted(self._files)
            if path.endswith(".js") and not path.startswith(_NOT_PRELOADED)
        )
        body = self._files[name].replace(_MODULES_MARK, modules).replace(_BUILD_MARK, self.build.encode())
        body = body.replace(_START_MARK, start_time.encode())
        return Asset(body, _media_type(name), headers)

    def file(self, name: str, headers: Headers) -> Asset:
        """Returns a file that is also served under a path of its own."""
        return Asset(self._files[name], _media_type(name), headers)

    def find(self, build: str, name: str) -> Asset:
        """Returns a file of this build; raises NotFound if it is of another one."""
        asset = self._assets.get(name)
        if asset is None or build != self.build:
            raise NotFound
        return asset


def _files(folder: Traversable, path: str = "") -> Iterator[tuple[str, bytes]]:
    """Yields the name, with its folders, and the content of each file."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{path}{entry.name}/")
        else:
            yield f"{path}{entry.name}", entry.read_bytes()


def _media_type(name: str) -> bytes:
    return _MEDIA_TYPES.get(name.rpartition(".")[2], _PLAIN_TEXT)
