// Verdict, lanes, pools and plots, with figures missing, huge and hostile.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DASH } from "../model/format.mjs";
import { emptyJournal, takeEntries } from "../model/journal.mjs";
import { askedShare, lanes, programs } from "../model/lanes.mjs";
import { pools } from "../model/pools.mjs";
import { alerts } from "../model/alerts.mjs";
import { verdict } from "../model/rules.mjs";
import { columns, keep, livePoint, withLastLook } from "../model/series.mjs";
import { EVIL, analysis, assertReadable, entered, entry, migration, plan, set, started, tick } from "./samples.mjs";

const none = { count: 0, p50_ms: null, p95_ms: null, p99_ms: null };
const idle = { calls: 0, errors: {}, kinds: {}, total: none, overhead: none, programs: {}, seconds: 10 };
const busy = {
  calls: 9007199254740993,
  errors: { pool: 3, caller: 4 },
  total: { count: 9, p50_ms: 20, p95_ms: 30, p99_ms: 40 },
  overhead: { count: 9, p50_ms: 0.5, p95_ms: NaN, p99_ms: 9 },
  programs: { [EVIL]: { calls: 7, errors: 1, total: { p99_ms: 41 } }, constructor: { calls: 2, errors: 0, total: none } },
  seconds: 10.04,
};
const status = {
  lanes: { stable: { name: "v1", kind: "pool-v1", size: 2, ready: 1, in_flight: 1, capacity: 2, queued: 0, starts: 3, failures: 1, draining: false, workers: [] }, candidate: null },
  circuits: [{ lane: "stable", enabled: true, state: "open", retry_after_ms: 2500 }],
  traffic: { recorded: true, stable: busy, candidate: idle },
  flags: { values: { pool_v2_enabled: true, gradual_rollout_percentage: 5 } },
  migration: null,
  host: { cpu_percent: null, memory_percent: 50 },
};
const cells = (seen, label) => seen.rows.find((row) => row.label === label).cells;

test("lanes stand side by side, whatever is missing", () => {
  const seen = lanes(status);
  assert.deepEqual(seen.names, ["v1", DASH]);
  assert.equal(seen.window, "10 s");
  assert.deepEqual(cells(seen, "Share asked for"), ["95 %", "5 %"]);
  assert.deepEqual(cells(seen, "Share measured"), ["100 %", "0 %"]);
  assert.deepEqual(cells(seen, "Calls"), ["9.01 × 10^15", "0"]);
  assert.deepEqual(cells(seen, "by the pool"), ["3", "0"]);
  assert.deepEqual(cells(seen, "Whole call p95"), ["30 ms", DASH]);
  assert.deepEqual(cells(seen, "Overhead p95"), [DASH, DASH]);
  assert.deepEqual(cells(seen, "Circuit"), ["open (calls are refused), probes in 2.5 s", DASH]);
  for (const broken of [null, {}, { traffic: 3, lanes: [], circuits: {} }]) assertReadable(assert, lanes(broken));
  assert.equal(lanes({ ...status, traffic: { recorded: false } }).recorded, false);
});

test("the share that is asked for is nothing while the lever is off", () => {
  assert.equal(askedShare({ values: { pool_v2_enabled: false, gradual_rollout_percentage: 50 } }), 0);
  assert.equal(askedShare({}), null);
});

test("programs keep their names, and a name out of JavaScript is only a name", () => {
  const rows = programs(status);
  assert.deepEqual(rows.map((row) => row.name), [EVIL, "constructor"]);
  assert.deepEqual(rows[0].cells, [["7", "1", "41 ms"], ["0", "0", DASH]]);
  assert.deepEqual(rows[1].cells[1], ["0", "0", DASH]);
  assert.deepEqual(programs(null), []);
});

test("pools show every worker; without a candidate there is one", () => {
  const worker = { id: EVIL, pid: 12345, state: "terminated", health: "unhealthy", in_state_ms: 65_400, memory: 1_468_006, in_flight: 0, calls: 7, detail: EVIL };
  const seen = pools({ lanes: { stable: { ...status.lanes.stable, workers: [worker, {}, null] }, candidate: null } });
  assert.equal(seen.length, 1);
  assert.equal(seen[0].tone, "warn");
  assert.deepEqual(seen[0].workers[0], { id: EVIL, state: "terminated", health: "unhealthy", since: "1 m 5 s", memory: "1.4 MiB", tone: "bad", pid: "12345", inFlight: "0", calls: "7", detail: EVIL });
  assertReadable(assert, seen);
  assert.deepEqual(pools({}), []);
  assert.equal(pools({ lanes: { stable: { ...status.lanes.stable, ready: 0 } } })[0].tone, "bad");
});

const row = (seen, rule) => seen.rows.find((one) => one.rule === rule);

test("a rule that a look judged passes, and shows value and limit", () => {
  const seen = verdict(migration(), plan, { cpu_percent: 30, memory_percent: 40 });
  assert.equal(seen.verdict, "healthy");
  assert.ok(seen.rows.every((one) => one.state === "passes"), JSON.stringify(seen.rows));
  assert.equal(row(seen, "critical_error_rate").value, "1 %");
  assert.equal(row(seen, "critical_error_rate").limit, "10 %");
  assert.equal(row(seen, "critical_error_rate").action, "rolls back");
  assert.equal(row(seen, "overhead_p99").limit, "200 ms");
  assert.equal(row(seen, "error_ratio").limit, "3 × stable’s");
});

test("what the plan leaves out is not said to pass", () => {
  const state = (shadow) => row(verdict(migration(), { ...plan, shadow }, {}), "difference_rate").state;
  assert.equal(state(0), "off");
  assert.equal(state(5), "passes");
});

test("without the plan, which needs the admin token, no pass is claimed for copied calls", () => {
  const seen = (plan, more) => row(verdict(migration(more), plan, {}), "difference_rate");
  for (const unread of [null, {}, { ...plan, shadow: null }]) {
    assert.deepEqual([seen(unread).state, seen(unread).said], ["unknown", "not known"]);
  }
  assert.equal(seen(null).limit, DASH);
  assert.equal(seen(null, { analysis: null }).state, "unseen");
  const reason = { rule: "difference_rate", text: "differ", verdict: "critical", action: "pause", value: 0.2, limit: 0.05, needs: null };
  assert.equal(seen(null, { analysis: analysis("critical", { reasons: [reason] }) }).state, "broken", "what was judged is said");
  assert.equal(row(verdict(migration(), null, {}), "error_ratio").state, "passes", "and what every look judges passes");
});

test("what is unknown is not said to pass", () => {
  const before = verdict(migration({ analysis: null }), plan, {});
  assert.equal(before.verdict, "none");
  assert.ok(before.rows.every((one) => one.state === "unseen" && one.value === DASH));
  const reasons = [
    { rule: "minimum_samples", text: "the candidate had 3 calls: waiting for 17 more calls", verdict: "inconclusive", action: "log", value: null, limit: null, needs: "17 more calls" },
    { rule: "telemetry", text: "off", verdict: "inconclusive", action: "log", value: null, limit: null, needs: "telemetry_v2 on" },
  ];
  const lacking = verdict(migration({ analysis: analysis("inconclusive", { reasons }) }), plan, {});
  assert.equal(row(lacking, "minimum_samples").state, "waits");
  assert.equal(row(lacking, "minimum_samples").needs, null, "the sentence says it already");
  assert.equal(row(lacking, "telemetry").needs, "telemetry_v2 on");
  assert.equal(row(lacking, "error_ratio").state, "unseen");
  assert.equal(lacking.rows[0].state, "waits");
});

test("a median is not said to pass where the p99 beside it was not judged", () => {
  const p99 = { rule: "p99_ratio", text: "not judged yet", verdict: "healthy", action: "note", value: null, limit: null, needs: "40 more calls" };
  const state = (reasons) => row(verdict(migration({ analysis: analysis("healthy", { reasons }) }), plan, {}), "median_ratio").state;
  assert.equal(state([p99]), "unjudged");
  assert.equal(state([{ ...p99, verdict: "critical", value: 9, limit: 8 }]), "passes");
});

test("a broken rule comes first, with what was found and what it does", () => {
  const reasons = [{ rule: "critical_error_rate", text: `pool faults: ${EVIL}`, verdict: "critical", action: "rollback", value: 0.25, limit: 0.1, needs: null }];
  const seen = verdict(migration({ analysis: analysis("critical", { reasons }) }), plan, {});
  assert.deepEqual(
    [seen.rows[0].rule, seen.rows[0].state, seen.rows[0].value, seen.rows[0].limit, seen.rows[0].action],
    ["critical_error_rate", "broken", "25 %", "10 %", "rolls back"],
  );
  assert.equal(seen.rows[0].text, `pool faults: ${EVIL}`);
  assert.equal(row(seen, "error_rate").state, "warning", "what breaks the stronger rule does not pass the weaker");
});

test("growth is said by the hour, and what was not measured is not said to pass", () => {
  const reason = { rule: "memory_growth", text: "grows", verdict: "critical", action: "rollback", value: 0.41, limit: 0.1, needs: null };
  const broken = row(verdict(migration({ analysis: analysis("critical", { reasons: [reason] }) }), plan, {}), "memory_growth");
  assert.deepEqual([broken.state, broken.value, broken.limit, broken.action], ["broken", "41 % an hour", "10 % an hour", "rolls back"]);
  const unknown = { ...reason, text: "not judged yet", verdict: "healthy", action: "note", value: null, limit: null };
  const waiting = row(verdict(migration({ analysis: analysis("healthy", { reasons: [unknown] }) }), plan, {}), "memory_growth");
  assert.deepEqual([waiting.said, waiting.value, waiting.text], ["not judged", DASH, "not judged yet"]);
});

test("several reasons of one rule are several rows; numbers have their unit", () => {
  const slow = (name) => ({ rule: "degradation", degraded: "latency", text: `median of whole calls of ${name}`, verdict: "healthy", action: "note", value: 120, limit: 100, needs: null });
  const seen = verdict(migration({ analysis: analysis("healthy", { reasons: [slow("a"), slow("b")] }) }), plan, {});
  const rows = seen.rows.filter((one) => one.rule === "degradation");
  assert.deepEqual(rows.map((one) => [one.value, one.state]), [["120 ms", "noted"], ["120 ms", "noted"]]);
  const failing = { ...slow("c"), degraded: "errors", value: 0.12, limit: 0.1 };
  const [row] = verdict(migration({ analysis: analysis("healthy", { reasons: [failing] }) }), plan, {}).rows.filter((one) => one.rule === "degradation");
  assert.equal(row.value, "12 %");
});

test("without plan, migration or sense there is still something to show", () => {
  assert.deepEqual(verdict(null, null, null).rows, []);
  assertReadable(assert, verdict(migration(), null, null));
  assertReadable(assert, verdict(migration({ analysis: { verdict: "healthy", reasons: [null, { rule: 7 }] } }), plan, null));
});

test("points have gaps where nothing was measured", () => {
  const points = [livePoint(1000, status), livePoint(2000, {}), livePoint(3000, null)];
  assert.deepEqual(points[0], { t: 1, target: 5, share: 0, p99: [40, null], errors: [(3 / 9007199254740993) * 100, null] });
  assert.deepEqual(points[1], { t: 2, target: 0, share: null, p99: [null, null], errors: [null, null] });
  const data = columns(points);
  assert.deepEqual(data.p99, [[1, 2, 3], [40, null, null], [null, null, null]]);
  assert.equal(columns([]), null);
  assert.equal(columns(points.slice(1, 2)), null);
});

test("the page's own points are bounded", () => {
  let points = [];
  for (let second = 0; second < 2000; second += 1) points = keep(points, livePoint(second * 1000, status));
  assert.equal(points.length, 1800);
  assert.equal(points.at(-1).t, 1999);
  assert.equal(keep(points, null), points);
});

test("the look that a rollback was decided by is drawn", () => {
  const journal = emptyJournal("m-1");
  takeEntries(journal, [started, entered, set, tick(5, "healthy"), entry(6, { type: "rollback_began", cause: { by: "controller", why: "x" } })]);
  const critical = analysis("critical", { candidate: { calls: 40, failed: 20, p99_ms: 900 } });
  const points = withLastLook(journal, migration({ phase: "rolled_back", analysis: critical }));
  assert.equal(points.length, 2);
  assert.equal(points[1].errors[1], 50);
  assert.equal(withLastLook(journal, migration()).length, 1);
});

test("an ended migration promises no look", () => {
  const ended = verdict(migration({ phase: "rolled_back", analysis: null, stages: [] }), plan, {});
  assert.ok(ended.rows.every((one) => one.said === "never judged"), JSON.stringify(ended.rows));
  assert.equal(ended.means, "The candidate was never judged: it had no traffic.");
  const live = verdict(migration({ phase: "deploy", analysis: null, stages: [] }), plan, {});
  assert.ok(live.rows.every((one) => one.said === "not looked at yet"));
});

test("alerts are shown as text, the newest first", () => {
  const alert = (at, verdict, more = {}) => ({ at, verdict, rule: "error_rate", text: EVIL, ended_at: null, ...more });
  const rows = alerts(migration({ alerts: [alert("2026-01-02T10:00:00Z", "warning"), alert("2026-01-02T10:01:00Z", "critical", { text: null })] }));
  assert.deepEqual(rows.map((row) => [row.tone, row.text]), [["bad", "error rate"], ["warn", EVIL]]);
  assert.deepEqual(alerts(null), []);
});
