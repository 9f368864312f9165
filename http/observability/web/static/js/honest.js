// How far what the page shows may be believed: one word, one colour and one sentence for each state.

import { dateTime, duration, percent } from "./format.js";

// What each state looks like; `tone` is a class. Only in `live`, `partial`, `demo` and `replay` are figures those of now.
const STATES = {
  __proto__: null,
  connecting: { word: "connecting", tone: "warn", isCurrent: false },
  live: { word: "live", tone: "good", isCurrent: true },
  demo: { word: "demo", tone: "info", isCurrent: true },
  replay: { word: "replay", tone: "info", isCurrent: true },
  partial: { word: "incomplete", tone: "warn", isCurrent: true },
  past: { word: "past", tone: "past", isCurrent: true },
  ended: { word: "replay over", tone: "warn", isCurrent: false },
  stale: { word: "stale", tone: "warn", isCurrent: false },
  lost: { word: "lost", tone: "bad", isCurrent: false },
  refused: { word: "token needed", tone: "bad", isCurrent: false },
};

/** Returns {name, word, tone, isCurrent, sentence} of what a feed shows.
 *
 * `connection` is the state of the stream's client, `snapshot` the newest one or null, `age` the seconds since it came,
 * `past` whether the feed is the recorder's, `zone` the time zone of times. An empty sentence needs no banner. */
export function stateOf({ connection, snapshot, age, past = false, zone = "UTC" }) {
  const named = (name, sentence) => ({ name, ...STATES[name], sentence });
  const asOf = snapshot ? ` Figures are as of ${dateTime(snapshot.timestamp, zone)}, ${duration(age)} ago.` : "";
  if (connection === "refused") return named("refused", "This server needs a token to read.");
  if (connection === "lost" || connection === "closed")
    return named("lost", `The connection to the server is lost; trying again.${asOf}`);
  if (connection === "connecting" || snapshot === null)
    return named("connecting", asOf ? `Connecting.${asOf}` : past ? "Connecting to the recording, which 100 viewers see at most." : "");
  if (connection === "stale") return named("stale", `The server is connected and sends no update.${asOf}`);
  if (past) return named("past", `This is the past: ${dateTime(snapshot.timestamp, zone)}.`);
  const { replay, demo, missing_sites: missing } = snapshot.system ?? {};
  if (missing?.length) return named("partial", `No total has the figures of ${missing.join(", ")}: ${missing.length > 1 ? "these sites are" : "this site is"} not live.`);
  if (replay) return stateOfReplay(replay, demo, named, zone);
  if (demo) return named("demo", "Demo: simulated quotes and a paper strategy. No order leaves this machine.");
  return named("live", "");
}

function stateOfReplay(replay, demo, named, zone) {
  const faults = [];
  if (replay.skipped_lines) faults.push(`${replay.skipped_lines.toLocaleString("en-US")} lines skipped`);
  if (replay.bad_lines) faults.push(`${replay.bad_lines.toLocaleString("en-US")} unreadable lines`);
  const after = faults.length ? `; ${faults.join(", ")}` : "";
  if (replay.state === "running" || replay.state === "waiting") {
    const lap = replay.lap > 1 ? `lap ${replay.lap}, ` : "";
    return named("replay", `Replay of a recording: ${lap}${percent(replay.progress, 0)}${after}.`
      + (demo ? " A paper strategy trades on it." : ""));
  }
  const at = replay.event_time ? ` at ${dateTime(replay.event_time, zone)}` : "";
  const verb = replay.state === "interrupted" ? "was" : "has";
  return named("ended", `The replay ${verb} ${replay.state}${at}${after}. Figures stand still.`);
}
