"""What an aggregator adds to a snapshot: the section `sites`, and in the others the fields of each site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from observability.schemas.builders import Schema, array, count, mapping, moment, number, record, text, word

MISSING_SITES: Final = array(
    text("A site.", "tokyo"), "Of an aggregator: the sites that are not live, whose figures are in no total."
)
SITE_FIELDS: Final = ("missing_sites", "sites")
UNDEFINED_REASON: Final = text(
    "Of an aggregator: why ratios, percentiles and falls are null; without a live site, why counts are, too.",
    "not defined over several sites; ...",
)

SITE: Final = record(
    "SiteState",
    "One site, as an aggregator sees it.",
    {
        "status": word("Whether its frames are current.", ("live", "stale", "missing")),
        "reason": text("Why it is not live; null if it is.", "its hub publishes no frames", null=True),
        "epoch": text("Of its newest frame; null before the first one.", "18ec9abc1b5ff72b", null=True),
        "seq": count("Number of that frame.", 1250, null=True),
        "timestamp": moment("The time of that frame by the site's event clock.", null=True),
        "age_ms": number("Since that frame was stored by the NATS servers, by their clock.", 51.4, null=True),
        "timestamp_age_ms": number(
            "The aggregator's time less `timestamp`, which the two hosts' clocks may falsify.", 52.8, null=True
        ),
    },
)
SITES_SECTION: Final = mapping(SITE, "Of an aggregator: each of its sites.", "london")


def over_sites(fields: Mapping[str, Schema]) -> dict[str, Schema]:
    """Describes totals: counts are null at an aggregator without a live site, or with one whose hub is too old."""
    return {
        name: schema | {"type": ["integer", "null"]} if schema.get("type") == "integer" else schema
        for name, schema in fields.items()
    }


def of_sites(section: Schema) -> dict[str, Schema]:
    """Describes what an aggregator adds to a section whose fields at one site are `section`."""
    return {
        "missing_sites": MISSING_SITES,
        "sites": mapping(section, "Of an aggregator: the fields of the section at each site.", "london"),
    }
