// A panel of System: the sites of an aggregator, which are live, how old their newest frames are, and what each has earned.

import { memberOf } from "../js/api.js";
import { DASH, count, dateTime, milliseconds, signed, tone } from "../js/format.js";
import { Table } from "../js/table.js";

const TONES = { __proto__: null, live: "up", stale: "down", missing: "down" };

/** Returns a row per site, from a snapshot that may have been cut to some sections. */
export function siteRows({ sites, strategy, system }) {
  return Object.entries(sites ?? {}).map(([name, site]) => ({
    name, ...site, account: memberOf(strategy?.sites, name) ?? null, host: memberOf(system?.sites, name) ?? null,
  }));
}

/** Returns the table of sites; `zone` returns the time zone of times. */
export function sitesTable(zone) {
  return new Table({ label: "Sites", key: row => row.name, empty: "This server shows no sites.", maxRows: 12, columns: [
    { id: "name", title: "Site", width: "minmax(90px, 1fr)", value: row => row.name },
    { id: "status", title: "Status", width: "74px", value: row => row.status, className: row => TONES[row.status] },
    { id: "age", title: "Frame's age", isNumber: true, width: "92px", value: row => row.age_ms, text: row => milliseconds(row.age_ms) },
    { id: "behind", title: "Behind us", isNumber: true, width: "92px", minWidth: 620, value: row => row.timestamp_age_ms, text: row => milliseconds(row.timestamp_age_ms), hint: row => `Its time: ${dateTime(row.timestamp, zone(), { hasMs: true })}` },
    { id: "pnl", title: "P&L", isNumber: true, width: "minmax(80px, 1fr)", value: row => row.account?.total_pnl, text: row => signed(row.account?.total_pnl), className: row => tone(row.account?.total_pnl) },
    { id: "currency", title: "In", width: "52px", minWidth: 460, value: row => row.account?.reporting_currency ?? DASH },
    { id: "positions", title: "Positions", isNumber: true, width: "74px", minWidth: 520, value: row => row.account?.open_positions, text: row => count(row.account?.open_positions) },
    { id: "health", title: "Health", width: "84px", minWidth: 420, value: row => row.host?.health ?? DASH, className: row => row.host?.health === "healthy" ? "up" : "warn", hint: row => (row.host?.health_reasons ?? []).join("; ") },
    { id: "alerts", title: "Alerts", isNumber: true, width: "60px", minWidth: 700, value: row => row.host?.active_alerts, text: row => count(row.host?.active_alerts) },
    { id: "reason", title: "Why not live", width: "minmax(100px, 2fr)", minWidth: 560, value: row => row.reason ?? "", hint: row => row.reason },
  ] });
}
