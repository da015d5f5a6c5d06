// Stable and the candidate side by side: rows of a table, and the programs in both.

import { DASH, count, finite, latency, list, object, percent, rate, span, text } from "./format.mjs";

const BLAMES = [
  ["pool", "by the pool"],
  ["program", "by the program"],
  ["provider", "by the provider"],
  ["caller", "by the caller"],
];
const QUANTILES = ["p50", "p95", "p99"];

/** `{names, window, recorded, rows: [{label, cells, kind}]}`. */
export function lanes(status) {
  const { traffic, lanes: pools, flags, migration, circuits } = object(status);
  const windows = [object(object(traffic).stable), object(object(traffic).candidate)];
  const names = ["stable", "candidate"].map((lane) => text(object(object(pools)[lane]).name));
  names[1] ??= text(object(migration).candidate);
  const calls = windows.map((window) => finite(window.calls));
  const all = (calls[0] ?? 0) + (calls[1] ?? 0);
  const share = (index) => (calls[index] === null || all === 0 ? DASH : percent((calls[index] / all) * 100));
  const asked = askedShare(flags);
  const rows = [
    { label: "Share asked for", cells: asked === null ? [DASH, DASH] : [percent(100 - asked), percent(asked)] },
    { label: "Share measured", cells: [share(0), share(1)], kind: "strong" },
    { label: "Calls", cells: windows.map((window) => count(window.calls)) },
    { label: "Failed", cells: windows.map(failed), kind: "strong" },
    ...BLAMES.map(([blame, label]) => ({
      label,
      cells: windows.map((window) => blamed(window, blame)),
      kind: "sub",
    })),
    ...timings("Whole call", windows.map((window) => object(window.total))),
    ...timings("Overhead", windows.map((window) => object(window.overhead))),
    { label: "Circuit", cells: ["stable", "candidate"].map((lane) => circuit(circuits, lane)) },
  ];
  const seconds = finite(windows[0].seconds);
  return {
    names: [names[0] ?? DASH, names[1] ?? DASH],
    window: seconds === null ? DASH : span(seconds * 1000),
    recorded: object(traffic).recorded !== false,
    rows,
  };
}

/** The share that the flags ask for; null where they are not known. */
export function askedShare(flags) {
  const { pool_v2_enabled: enabled, gradual_rollout_percentage: share } = object(object(flags).values);
  if (enabled === undefined) return null;
  return enabled ? finite(share) : 0;
}

function timings(label, latencies) {
  return QUANTILES.map((quantile) => ({
    label: `${label} ${quantile}`,
    cells: latencies.map((one) => latency(one[`${quantile}_ms`])),
    kind: quantile === "p99" ? "strong" : undefined,
  }));
}

function failed(window) {
  const calls = finite(window.calls);
  if (calls === null) return DASH;
  const errors = Object.values(object(window.errors)).reduce((sum, n) => sum + (finite(n) ?? 0), 0);
  return errors === 0 ? "0" : `${count(errors)} (${rate(errors, calls)})`;
}

function blamed(window, blame) {
  return finite(window.calls) === null ? DASH : count(object(window.errors)[blame] ?? 0);
}

function circuit(circuits, lane) {
  const found = list(circuits).map(object).find((one) => one.lane === lane);
  if (!found) return DASH;
  if (found.enabled === false) return "off";
  const state = (text(found.state) ?? DASH).replaceAll("_", "-");
  const again = finite(found.retry_after_ms);
  // The breaker's words are unfamiliar, and "open" is taken for the contrary of what it is.
  const said = { closed: "closed (calls pass)", open: "open (calls are refused)", "half-open": "half-open (probing)" };
  return `${said[state] ?? state}${again === null ? "" : `, probes in ${span(again)}`}`;
}

/** Programs in either lane: `{name, cells: [[calls, errors, p99], …]}`, most called first. */
export function programs(status) {
  const { traffic } = object(status);
  const sides = ["stable", "candidate"].map((lane) => object(object(object(traffic)[lane]).programs));
  const names = [...new Set(sides.flatMap(Object.keys))];
  const all = (name) => sides.reduce((sum, side) => sum + (finite(object(side[name]).calls) ?? 0), 0);
  return names
    .sort((a, b) => all(b) - all(a) || (a < b ? -1 : 1))
    .map((name) => ({
      name,
      cells: sides.map((side) => {
        const { calls, errors, total } = Object.hasOwn(side, name) ? object(side[name]) : {};
        return [count(calls ?? 0), count(errors ?? 0), latency(object(total).p99_ms)];
      }),
    }));
}
