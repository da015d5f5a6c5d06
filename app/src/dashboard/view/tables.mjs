// Verdict, lanes, programs and pools.

import { alerts } from "../model/alerts.mjs";
import { clock } from "../model/format.mjs";
import { lanes, programs } from "../model/lanes.mjs";
import { pools } from "../model/pools.mjs";
import { verdict } from "../model/rules.mjs";
import { byId, element, refill, setText, show, table } from "./elements.mjs";

/** Draws the verdict with a row for every rule. */
export function drawVerdict(status, plan) {
  const seen = verdict(status?.migration, plan, status?.host);
  const pill = byId("verdict");
  setText(pill, seen.verdict);
  pill.className = `pill ${seen.tone}`;
  setText(byId("verdict-means"), seen.means);
  refill(byId("rules"), seen.rows, (rows) =>
    rows.length === 0 ? [] : [table("Rules of the verdict", ["Rule", "Found", "Limit", "Says"], rows.flatMap(rule))],
  );
}

function rule(row) {
  const more = [row.text, row.needs === null ? null : `still needed: ${row.needs}`].filter((said) => said !== null);
  const figures = element(
    "tr",
    { class: `rule-${row.state}${more.length > 0 ? " more" : ""}` },
    element("th", { scope: "row", title: row.rule }, row.name),
    element("td", {}, row.value),
    element("td", {}, row.limit, row.action === null ? null : element("span", { class: "small" }, `else ${row.action}`)),
    element("td", { class: "state" }, row.said),
  );
  if (more.length === 0) return [figures];
  return [figures, element("tr", { class: `rule-${row.state} reason` }, element("td", { colspan: 4 }, ...more.map((said) => element("p", {}, said))))];
}

/** Draws the warnings and criticals, where there were any. */
export function drawAlerts(migration, now) {
  const rows = alerts(migration).map((alert) => ({
    ...alert,
    since: clock(alert.since, now),
    until: alert.until === null ? "still" : clock(alert.until, now),
  }));
  show(byId("alerts-card"), rows.length > 0);
  refill(byId("alerts"), rows, (all) => [
    table(
      "Warnings and criticals, the newest first",
      ["Since", "Alert", "", "Until"],
      all.map((alert) =>
        element(
          "tr",
          {},
          element("td", {}, alert.since),
          element("td", {}, element("span", { class: `pill ${alert.tone}` }, alert.verdict)),
          element("td", { class: "prose" }, alert.text),
          element("td", {}, alert.until),
        ),
      ),
    ),
  ]);
}

/** Draws both lanes side by side. */
export function drawLanes(status) {
  const seen = lanes(status);
  const note = seen.recorded
    ? `Calls that ended in the last ${seen.window}.`
    : "No calls are recorded: the flag telemetry_v2 is off.";
  setText(byId("lanes-note"), note);
  refill(byId("lanes"), { names: seen.names, rows: seen.rows }, ({ names, rows }) => [
    table(
      "Stable and the candidate side by side",
      ["", lane("stable", names[0]), lane("candidate", names[1])],
      rows.map(({ label, cells, kind }) =>
        element("tr", { class: kind ?? null }, element("th", { scope: "row" }, label), ...cells.map((cell) => element("td", {}, cell))),
      ),
    ),
  ]);
  drawPrograms(programs(status));
}

function lane(name, pool) {
  return element("th", { scope: "col" }, element("span", { class: `key ${name}` }), ` ${name} `, element("span", { class: "small" }, pool));
}

function drawPrograms(rows) {
  show(byId("programs-details"), rows.length > 0);
  const heads = ["Program", "stable calls", "errors", "p99", "candidate calls", "errors", "p99"];
  refill(byId("programs"), rows, (all) => [
    table(
      "Calls, errors and p99 of every program in both lanes",
      heads,
      all.map(({ name, cells }) =>
        element("tr", {}, element("th", { scope: "row" }, name), ...cells.flat().map((cell) => element("td", {}, cell))),
      ),
    ),
  ]);
}

/** Draws every pool with every worker. */
export function drawPools(status) {
  refill(byId("pools"), pools(status), (all) => (all.length === 0 ? [element("p", { class: "muted" }, "Not known yet.")] : all.map(pool)));
}

function pool(seen) {
  return element(
    "article",
    { class: "pool", "aria-label": `${seen.lane} pool ${seen.name}` },
    element(
      "h3",
      {},
      element("span", { class: `key ${seen.lane}` }),
      ` ${seen.name} `,
      element("span", { class: "small" }, `${seen.lane}, ${seen.kind}`),
    ),
    element("ul", { class: "facts" }, ...seen.facts.map((fact, index) => element("li", index === 0 ? { class: `pill ${seen.tone}` } : {}, fact))),
    element(
      "div",
      { class: "scroll", role: "region", "aria-label": `Workers of ${seen.name}`, tabindex: 0 },
      table(`Workers of ${seen.name}`, ["Worker", "State", "For", "Process", "In flight", "Calls", "Memory", "Detail"], seen.workers.map(worker)),
    ),
  );
}

function worker(seen) {
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, seen.id),
    element(
      "td",
      {},
      element("span", { class: `pill ${seen.tone}` }, seen.state),
      seen.health === "" ? null : element("span", { class: "pill bad" }, seen.health),
    ),
    element("td", {}, seen.since),
    element("td", {}, seen.pid),
    element("td", {}, seen.inFlight),
    element("td", {}, seen.calls),
    element("td", {}, seen.memory),
    element("td", { class: "prose" }, seen.detail),
  );
}
