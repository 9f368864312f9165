"""Lists that are answered page by page, read to their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read_pages(get: Callable[[str], Any], path: str, name: str) -> list[dict[str, Any]]:
    """Returns the items `name` of all pages of a path with a query, newest first."""
    page = get(path)
    found: list[dict[str, Any]] = page[name]
    while page["next_cursor"] is not None:
        page = get(f"{path}&cursor={page['next_cursor']}")
        found += page[name]
    return found
