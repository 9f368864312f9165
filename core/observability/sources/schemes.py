"""The schemes of source URLs: which module makes a source of which URL, ours and those of other packages.

A module of ours has `from_url(url) -> Source`; another package names such a function as an entry point in the group
`observability.sources`, under its scheme. It raises ConfigError for a URL that it cannot use, and SourceError if a
package is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from observability.config.source_urls import without_secrets
from observability.errors import ConfigError, MissingPackage, SourceError
from observability.sources.source import Source

ENTRY_POINT_GROUP: Final = "observability.sources"

SourceFactory = Callable[[str], Source]

# Imported when a URL asks for them.
MODULES: Final[Mapping[str, str]] = {
    "binance": "observability.sources.feeds.feed",
    "binance-usdm": "observability.sources.feeds.feed",
    "bybit": "observability.sources.feeds.feed",
    "coinbase": "observability.sources.feeds.feed",
    "kraken": "observability.sources.feeds.feed",
    "nats": "observability.sources.brokers.nats",
    "okx": "observability.sources.feeds.feed",
    "redis": "observability.sources.brokers.redis",
    "rediss": "observability.sources.brokers.redis",
    "zmq": "observability.sources.brokers.zmq",
}


def open_sources(urls: Sequence[str]) -> tuple[Source, ...]:
    """Returns the sources of URLs, not connected yet. Raises ConfigError with the faults of all of them, and
    MissingPackage if that is what is wrong."""
    plugins = {plugin.name: plugin for plugin in entry_points(group=ENTRY_POINT_GROUP)}
    sources: dict[str, Source] = {}
    faults: list[str] = []
    missing: list[str] = []
    for url in urls:
        where = f"source {without_secrets(url)}"
        try:
            source = _factory(url.partition(":")[0], plugins)(url)
            if source.name in sources:
                faults.append(f"{where}: another source has its name, {source.name}")
            sources[source.name] = source
        except ConfigError as error:
            faults += [f"{where}: {fault}" for fault in error.faults]
        except SourceError as error:
            missing.append(f"{where}: {error}")
    if faults:
        raise ConfigError([*faults, *missing])
    if missing:
        raise MissingPackage("\n".join(missing))
    return tuple(sources.values())


def _factory(scheme: str, plugins: Mapping[str, EntryPoint]) -> SourceFactory:
    module = MODULES.get(scheme)
    if module is not None:
        return cast(SourceFactory, import_module(module).from_url)
    plugin = plugins.get(scheme)
    if plugin is None:
        known = sorted({*MODULES, *plugins})
        near = get_close_matches(scheme, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError([f"{scheme!r} is not a kind of source, expected one of {', '.join(known)}{hint}"])
    try:
        return cast(SourceFactory, plugin.load())
    except Exception as error:
        raise SourceError(f"the entry point {plugin.value} cannot be imported: {error!r}") from error
