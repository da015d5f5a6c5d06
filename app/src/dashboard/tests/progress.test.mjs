// Where the migration is: the sentence, the stages, the hold, what may be asked for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { announcement, headline } from "../model/headline.mjs";
import { hold, phases, stageBar } from "../model/stages.mjs";
import { possible } from "../view/commands.mjs";
import { EVIL, analysis, assertReadable, migration, plan } from "./samples.mjs";

test("the sentence says where it is", () => {
  const title = (more) => headline(migration(more)).title;
  assert.equal(title({}), "Stage 2 of 6: 10 % of the traffic goes to v2");
  assert.equal(headline(migration({ acknowledged: false })).detail, "not every router serves that yet");
  assert.equal(title({ phase: "deploy", stage: null, percent: 0 }), "Bringing up v2, with no traffic");
  assert.equal(title({ phase: "complete" }), "Complete: v2 serves all traffic");
  assert.deepEqual(headline(migration({ phase: "rolled_back", outcome: "rolled back: pool faults" })), {
    tone: "bad",
    title: "Rolled back: v1 serves all traffic",
    detail: "pool faults",
  });
  assert.equal(title({ phase: "something_new" }), "Phase something_new");
  assert.equal(headline(null).title, "No migration yet");
});

test("a pause says who and why, as text", () => {
  const { title, detail, tone } = headline(migration({ paused: { by: "person", who: "carol", why: EVIL } }));
  assert.equal(title, "Paused: 10 % of the traffic goes to v2");
  assert.equal(detail, `carol: ${EVIL}`);
  assert.equal(tone, "warn");
  assert.equal(headline(migration({ paused: { by: "controller", why: "drift" } })).detail, "controller: drift");
});

test("the stages go from 0 % to 100 %, and show where it is", () => {
  const stages = stageBar(migration(), plan);
  assert.deepEqual(stages.map((stage) => stage.percent), ["0 %", "5 %", "10 %", "25 %", "50 %", "75 %", "100 %"]);
  assert.deepEqual(stages.map((stage) => stage.state), ["done", "done", "current", "next", "next", "next", "next"]);
  assert.equal(stages[1].measured, "4.9 %");
  assert.equal(stages[2].hold, "2 s of 10 s");
  assert.equal(stages[3].hold, "10 s");
});

test("without the journal the stages to come are not made up", () => {
  const stages = stageBar(migration(), null);
  assert.deepEqual(stages.map((stage) => stage.percent), ["0 %", "5 %", "10 %", "? %", "? %", "? %", "? %"]);
});

test("before, after and back have their stages too", () => {
  const states = (more) => stageBar(migration(more), plan).map((stage) => stage.state).join(" ");
  assert.equal(states({ phase: "deploy", stage: null, stages: [] }), "current next next next next next next");
  assert.equal(states({ phase: "complete", stage: 5 }), "done done done done done done done");
  assert.equal(states({ phase: "rolled_back" }), "current undone undone next next next next");
  assertReadable(assert, stageBar({}, null));
  assertReadable(assert, stageBar({ phase: "rollout", stage_count: 1e9, stages: "no" }, { stages: [null, 3] }));
});

test("phases are done, now, or to come", () => {
  assert.deepEqual(phases(migration()).map((phase) => phase.state), ["done", "done", "done", "current", "next", "next"]);
  assert.deepEqual(phases(migration({ phase: "stuck" })).map((phase) => phase.name), ["rolling back", "stuck"]);
  assert.deepEqual(phases(null), []);
});

test("the hold says what is left, and why the clock stands", () => {
  assert.deepEqual(hold(migration()), { value: 0.25, text: "2.5 s of 10 s seen healthy, 7.5 s to go", waits: null });
  const waits = (more) => hold(migration(more)).waits;
  assert.match(waits({ analysis: analysis("inconclusive") }), /while the verdict is inconclusive/);
  assert.match(waits({ analysis: null }), /until the first look/);
  assert.match(waits({ paused: { by: "controller", why: "x" } }), /paused/);
  assert.match(waits({ acknowledged: false }), /not every router serves 10 %/);
  assert.equal(hold(migration({ hold: null })).value, 1);
  assert.equal(hold(migration({ hold: "0s" })).value, 1);
  assert.equal(hold(migration({ healthy_for: "11s" })).value, 1);
  assert.equal(hold(migration({ phase: "complete" })), null);
  assert.equal(hold(null), null);
});

test("a rollback can be asked for from every state but the one after it", () => {
  for (const phase of ["prepare", "deploy", "verify", "rollout", "rolling_back", "stuck", "complete"]) {
    assert.equal(possible(migration({ phase })).rollback, true, phase);
    assert.equal(possible(migration({ phase, paused: { by: "controller", why: "x" } })).rollback, true, phase);
  }
  assert.equal(possible(migration({ phase: "rolled_back" })).rollback, false);
  assert.deepEqual(possible(null), { pause: false, resume: false, promote: false, approve: false, decommission: false, rollback: false });
  assert.deepEqual(possible(migration()), { pause: true, resume: false, promote: true, approve: false, decommission: false, rollback: true });
  const paused = possible(migration({ paused: { by: "controller", why: "x" } }));
  assert.deepEqual(paused, { pause: false, resume: true, promote: false, approve: false, decommission: false, rollback: true });
});

test("what is said aloud is what changed, once", () => {
  const before = migration();
  assert.equal(announcement(before, migration({ healthy_for: "3s" })), null);
  assert.equal(announcement(undefined, before), null);
  const worse = migration({ analysis: analysis("critical"), reasons: ["pool faults"] });
  assert.equal(announcement(before, worse), "The verdict is critical. pool faults.");
  const next = announcement(before, migration({ stage: 2, percent: 25 }));
  assert.equal(next, "Stage 3 of 6: 25 % of the traffic goes to v2.");
});

test("the old pool's end is a part of the way once it is taken", () => {
  const names = (phase) => phases(migration({ phase })).map((one) => `${one.name}:${one.state}`).slice(-2);
  assert.deepEqual(names("decommission"), ["decommission:current", "decommissioned:next"]);
  assert.deepEqual(names("complete"), ["validate:done", "complete:current"]);
  const headlineOf = (more) => headline(migration(more));
  assert.equal(headlineOf({ phase: "decommissioned" }).title, "v2 is stable, and v1 is gone");
  assert.equal(headlineOf({ phase: "complete", rested: true }).detail, "v1 is kept cold: it wakes on its first call");
});

test("a gate can be approved while it waits, and the old pool go once it is complete", () => {
  assert.equal(possible(migration()).approve, false);
  const waits = migration({ waiting_for: "the gate is not open: a person must approve", analysis: analysis("healthy") });
  assert.equal(possible(waits).approve, true);
  assert.equal(hold(waits).waits, "the gate is not open: a person must approve");
  assert.equal(possible(migration({ phase: "complete" })).decommission, true);
  assert.equal(possible(migration({ phase: "decommissioned" })).rollback, false);
});
