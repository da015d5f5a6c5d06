// Warnings and criticals of a migration, the newest first.

import { list, object, text, words } from "./format.mjs";

/** Rows that are shown; the report has the rest. */
const SHOWN = 20;

/** A row for each alert: `{since, until, verdict, tone, text}`; `until` is null while it lasts. */
export function alerts(status) {
  return list(object(status).alerts)
    .map(object)
    .reverse()
    .slice(0, SHOWN)
    .map((alert) => ({
      since: text(alert.at),
      until: text(alert.ended_at),
      verdict: words(alert.verdict),
      tone: alert.verdict === "critical" ? "bad" : "warn",
      text: text(alert.text) ?? words(alert.rule),
    }));
}
