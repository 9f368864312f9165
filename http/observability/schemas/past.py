"""The documents about what is recorded: stretches and gaps, marks for a scrubber, and what changed around a time."""

from __future__ import annotations

from typing import Final

from observability.schemas.builders import (
    Schema,
    anything,
    array,
    count,
    flag,
    moment,
    number,
    one_of,
    record,
    text,
    word,
)
from observability.schemas.system import ALERT_TRANSITION_FIELDS
from observability.schemas.trades import TRADE

RECORDINGS: Final = record(
    "Recordings",
    "What is recorded: from when until when, and where frames are missing.",
    {
        "recording": flag("Whether this server records.", example=True),
        "live": flag("Whether it shows the present; a bundle that was opened does not.", example=True),
        "playback": flag("Whether it plays the past at `/ws/metrics?at=`; an edge does not.", example=True),
        "start_time": moment("The first frame.", null=True),
        "end_time": moment("The last frame.", null=True),
        "frames": count("Frames.", 36000),
        "size_bytes": count("On disk.", 9302000),
        "stretches": array(
            record(
                "RecordedStretch",
                "A stretch of one epoch without gaps.",
                {
                    "start_time": moment("Its first frame."),
                    "end_time": moment("Its last frame."),
                    "epoch": text("Of its hub.", "18ec9abc1b5ff72b"),
                    "frames": count("Its frames.", 36000),
                },
            ),
            "Each stretch, oldest first.",
        ),
        "gaps": array(
            record(
                "RecordingGap",
                "A time without frames.",
                {
                    "start_time": moment("Its start."),
                    "end_time": moment("Its end."),
                    "frames": count("Frames that are missing; null if no server recorded.", 3, null=True),
                    "reason": word("Why.", ("dropped", "stopped")),
                },
            ),
            "Each gap, oldest first.",
        ),
    },
)

RECORDED_DOCUMENT: Final = record(
    "RecordedDocument",
    "A document as it was.",
    {
        "name": text("Its name.", "execution_quality"),
        "recorded": moment("The time of the tick that it was of; null if there is none.", null=True),
        "document": anything("What its own path answered then; null if there is none.", {"orders": 12}),
        "reason": text("Why there is none.", "nothing of it was recorded at or before this time", null=True),
    },
)

_SYMBOL: Final = text("The symbol.", "AAPL")
_MARK: Final[dict[str, Schema]] = {
    "time": moment("The time of its first event."),
    "count": count("Events of the interval.", 3),
    "seq": count("Number of the first one.", 812),
}
MARKS: Final = record(
    "Marks",
    "Fills, and alerts that were raised or resolved, in a stretch of time. A member in which the events of an interval "
    "differ is null.",
    {
        "start_time": moment("The earliest time."),
        "end_time": moment("The latest time."),
        "interval_ms": number("How long an interval is.", 3600.0),
        "marks": array(
            one_of(
                (
                    record(
                        "FillMark",
                        "Fills of one interval.",
                        {
                            **_MARK,
                            "kind": word("What it marks.", ("fill",)),
                            "symbol": text("The symbol.", "AAPL", null=True),
                            "side": word("The side.", ("buy", "sell"), null=True),
                        },
                    ),
                    record(
                        "AlertMark",
                        "Alerts that came to one state in one interval.",
                        {
                            **_MARK,
                            "kind": word("What it marks.", ("alert",)),
                            "state": word("What they have come to.", ("raised", "resolved")),
                            "severity": word("How bad they are.", ("info", "warning", "critical"), null=True),
                            "rule": text("The rule.", "drawdown", null=True),
                            "key": text("The key.", "drawdown", null=True),
                            "title": text("What is wrong.", "a drawdown of 6 %", null=True),
                        },
                    ),
                )
            ),
            "Each mark, oldest first.",
        ),
        "truncated": flag("Whether there were too many alerts."),
    },
)

_CHANGES: Final = array(
    record(
        "Change",
        "A value that differs. A member that is missing on one side is null there.",
        {
            "path": array(text("A name.", "strategy"), "Where it is in the snapshot."),
            "before": anything("The value before.", 10.5),
            "after": anything("The value after.", -3.25),
        },
    ),
    "What differs.",
)


def _parts(meaning: str, title: str, name: dict[str, Schema]) -> Schema:
    one = record(title, "Which one.", name)
    changed = record(f"Changed{title}", "One of both, and what differs in it.", {**name, "changes": _CHANGES})
    return record(
        "",
        meaning,
        {
            "added": array(one, "Those that are only in the later one."),
            "removed": array(one, "Those that are only in the earlier one."),
            "changed": array(changed, "Those that differ."),
        },
    )


_FRAME: Final = record(
    "FrameName",
    "A recorded frame.",
    {
        "timestamp": moment("Its time."),
        "epoch": text("Of its hub.", "18ec9abc1b5ff72b"),
        "seq": count("Its number.", 601),
    },
)
AROUND: Final = record(
    "Around",
    "What changed around a time: two frames, and what differs between them.",
    {
        "time": moment("The time."),
        "from": _FRAME,
        "to": _FRAME,
        "changes": _CHANGES,
        "symbols": _parts("Symbols.", "SymbolName", {"symbol": _SYMBOL}),
        "positions": _parts(
            "Positions.",
            "PositionName",
            {
                "strategy": text("The strategy.", "mean_reversion"),
                "symbol": _SYMBOL,
                "position_side": word("The side in hedge mode, else empty.", ("", "long", "short")),
            },
        ),
        "alerts": array(
            record(
                "AlertThen",
                "A transition of an alert between the two.",
                {"seq": count("Its number on the lane `alerts`.", 813), **ALERT_TRANSITION_FIELDS},
            ),
            "Alerts that were raised, acknowledged or resolved between the two.",
        ),
        "fills": array(
            record(
                "TradeThen",
                "A trade between the two.",
                {"seq": count("Its number on the lane `trades`.", 812), **TRADE["properties"]},
            ),
            "Trades between the two.",
        ),
        "truncated": flag("Whether there was too much to list."),
    },
)
