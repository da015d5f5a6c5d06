// The journal in plain words: what happened, who, and why it was allowed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyJournal, takeEntries } from "../model/journal.mjs";
import { command } from "../model/wording.mjs";
import { EVIL, analysis, assertReadable, entered, entry, set, started, tick, verified } from "./samples.mjs";

function read(...entries) {
  const journal = emptyJournal("m-1");
  takeEntries(journal, entries);
  return journal;
}

test("a stage says why it was allowed: by its checks, by its hold, by a person", () => {
  const left = (who) => entry(7, { type: "stage_left", stage: 0, cause: who, calls_stable: 5, calls_candidate: 5 });
  const next = entry(8, { type: "stage_entered", stage: 1, percent: 10, waived: false });
  const first = read(started, verified, entered).items.at(-1);
  assert.equal(first.title, "Stage 1 of 6: 5 % of the traffic goes to v2");
  assert.equal(first.why, "Allowed because verify passed: 1 check");
  assert.deepEqual(first.facts, [{ ok: true, text: "workers of v2 are ready: found 3 of 3, needs all of them" }]);

  const held = read(started, verified, entered, set, tick(5, "healthy"), tick(6, "healthy"), left({ by: "controller", why: "seen healthy for 10s" }), next);
  assert.equal(held.items.at(-1).why, "Allowed because stage 1 was over: seen healthy for 10s");
  assert.deepEqual(held.items.at(-1).facts.map((fact) => fact.text), [
    "the last look before it: healthy",
    "v2: 100 calls, 2 failed, p99 44 ms",
    "v1: 900 calls, 1 failed, p99 40 ms",
  ]);
  // Calls of both looks and of the leaving: 25 on v2 of 210.
  assert.equal(held.items.at(-2).facts[0].text, "25 calls on v2, 185 on v1, 11.9 % measured");

  const promoted = read(started, verified, entered, left({ by: "person", who: "bob", why: "in a hurry" }), next);
  assert.equal(promoted.items.at(-1).who, "bob");
  assert.equal(promoted.items.at(-1).why, "Allowed on bob’s word: in a hurry");
});

test("looks with one verdict in a row are one item, and entries are taken once", () => {
  const journal = read(started, verified, entered, set, tick(5, "inconclusive"), tick(6, "healthy"), tick(7, "healthy"));
  assert.equal(journal.items.length, 6);
  const healthy = journal.items.at(-1);
  assert.equal(healthy.title, "Looked 2 times in 0.5 s: healthy");
  assert.equal(healthy.why, "1 s of healthy time counted; 20 calls on v2, 180 on v1");
  assert.equal(takeEntries(journal, [tick(6, "healthy"), tick(7, "healthy")]), false);
  assert.equal(takeEntries(journal, [tick(8, "healthy")]), true);
  assert.equal(journal.items.length, 6);
  assert.equal(journal.items.at(-1).title, "Looked 3 times in 1 s: healthy");
  assert.equal(journal.points.length, 4);
  assert.equal(journal.points[0].target, 5);
});

test("every kind of event has words, and an unknown one does no harm", () => {
  const person = { by: "person", who: "carol", why: "lunch" };
  const said = (event) => read(started, entry(2, event)).items.at(-1);
  const expected = [
    [{ type: "step_failed", step: "preflight", checks: [{ name: "a", ok: false, value: "b", limit: "c", hint: "d" }], reason: "no Python" }, "Preflight failed", "no Python"],
    [{ type: "traffic_set", percent: 12.5, revision: 4 }, "Every router serves 12.5 %", "acknowledged, flags at revision 4"],
    [{ type: "traffic_delayed", reason: "store away" }, "Traffic is not moved yet; it is tried again", "store away"],
    [{ type: "commanded", command: "pause", who: "carol", why: "lunch", refused: null }, "carol asks to pause", "lunch"],
    [{ type: "commanded", command: { promote: { to_end: true } }, who: "carol", why: "x", refused: "it is paused" }, "carol asks to promote to the end, which is refused", "x"],
    [{ type: "paused", cause: person }, "Paused: traffic stays as it is", "lunch"],
    [{ type: "resumed", cause: person }, "It goes on", "lunch"],
    [{ type: "rollback_began", cause: { by: "controller", why: "pool faults" } }, "Rolling back: all traffic returns to v1", "pool faults"],
    [{ type: "traffic_zeroed", revision: 9 }, "Every router serves 0 %: nothing goes to v2 any more", "acknowledged, flags at revision 9"],
    [{ type: "withdrawn", finished: 1, abandoned: 0 }, "v2 is withdrawn", "1 call finished while it drained, 0 cut off"],
    [{ type: "withdraw_failed", reason: "busy" }, "v2 could not be withdrawn; it is tried again", "busy"],
    [{ type: "stuck", todo: "kill it" }, "Stuck: a person must act", "kill it"],
    [{ type: "completed" }, "Complete: v2 serves all traffic", "it can still be rolled back"],
    [{ type: "rolled_back" }, "Rolled back: everything is as before, on v1", null],
    [{ type: "something_new" }, "Something new", null],
    [{ type: "constructor" }, "Constructor", null],
    [{}, "–", null],
  ];
  for (const [event, title, why] of expected) {
    const item = said(event);
    assert.equal(item.title, title);
    assert.equal(item.why, why);
    assertReadable(assert, item);
  }
  assert.equal(said(expected[5][0]).who, "carol");
  assert.equal(said(expected[7][0]).who, "controller");
});

test("commands have words", () => {
  assert.equal(command("rollback"), "roll back");
  assert.equal(command({ promote: { to_end: false } }), "promote");
  assert.equal(command(null), "do something");
});

test("what people wrote stays what they wrote: text", () => {
  const journal = read(
    entry(1, { type: "started", plan: { stable: EVIL, candidate: EVIL, stages: [] }, who: EVIL, why: EVIL }),
    entry(2, { type: "rollback_began", cause: { by: "person", who: EVIL, why: EVIL } }),
  );
  assert.equal(journal.items[0].why, EVIL);
  assert.equal(journal.items[1].who, EVIL);
  assert.ok(journal.items[1].title.includes(EVIL));
});

test("entries with holes in them are shown as far as they go", () => {
  const journal = read(
    entry(1, { type: "started" }),
    { seq: 2, at: null, event: { type: "ticked" } },
    { seq: 3, at: "nonsense", event: { type: "ticked", analysis: { verdict: "healthy", candidate: { calls: 0, p99_ms: null } } } },
    entry(4, { type: "stage_entered" }),
    entry(5, { type: "stage_left", stage: null }),
    entry(6, null),
    null,
    { seq: "7" },
  );
  assert.equal(journal.lastSeq, 6);
  assert.equal(journal.points.length, 0);
  journal.items.forEach(({ title, who, why, facts }) => assertReadable(assert, { title, who, why, facts }));
});

test("a migration of days stays small", () => {
  const journal = emptyJournal("m-1");
  takeEntries(journal, [started, ...Array.from({ length: 20_000 }, (_, index) => tick(index + 2, "healthy"))]);
  assert.equal(journal.items.length, 2);
  assert.ok(journal.points.length <= 6000, String(journal.points.length));
  assert.equal(journal.items[1].run.looks, 20_000);
  assert.equal(journal.items[1].run.analysis.verdict, analysis("healthy").verdict);
});

test("looks that counted no calls say nothing about calls", () => {
  const journal = read(started, tick(2, "healthy", { calls_stable: 0, calls_candidate: 0 }));
  assert.equal(journal.items.at(-1).why, "0.5 s of healthy time counted");
});
