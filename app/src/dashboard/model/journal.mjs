// The journal as the page holds it: entries folded, as they come, into items to read, the plan, and
// the points and marks of the plots.
//
// Invariants: entries are taken in order and once, so asking again after `lastSeq` never shows a
// thing twice; looks with the same verdict in a row are one item, so a migration of a day stays
// readable and small.

import { finite, list, moment, object, text } from "./format.mjs";
import { describe, describeLooks } from "./wording.mjs";

/** Points kept for the plots; beyond it every other one is let go. */
const POINTS = 6000;

/** A journal of which nothing is known yet. */
export function emptyJournal(id) {
  return {
    id: id ?? null,
    lastSeq: 0,
    plan: null,
    items: [],
    points: [],
    marks: [],
    context: {
      stable: "stable",
      candidate: "the candidate",
      stageCount: 0,
      stageCalls: [0, 0],
      target: 0,
      lastAnalysis: null,
      before: null,
    },
  };
}

/** Takes entries in. Answers whether there was anything new. */
export function takeEntries(journal, entries) {
  let news = false;
  for (const entry of list(entries)) {
    const seq = finite(object(entry).seq);
    if (seq === null || seq <= journal.lastSeq) continue;
    journal.lastSeq = seq;
    take(journal, seq, entry);
    news = true;
  }
  return news;
}

function take(journal, seq, entry) {
  const { context } = journal;
  const event = object(entry.event);
  const at = moment(entry.at);
  if (event.type === "started") begin(journal, event);
  if (event.type === "ticked") {
    takeLook(journal, seq, entry.at, event);
  } else {
    if (event.type === "stage_left") addCalls(context, event);
    journal.items.push({ seq, at: entry.at, kind: "event", type: text(event.type), ...describe(event, context) });
    steer(journal, event, at);
  }
  context.before = event;
}

function begin(journal, event) {
  const plan = object(event.plan);
  journal.plan = plan;
  journal.context.stable = text(plan.stable) ?? "stable";
  journal.context.candidate = text(plan.candidate) ?? "the candidate";
  journal.context.stageCount = list(plan.stages).length;
}

function addCalls(context, event) {
  context.stageCalls = [
    context.stageCalls[0] + (finite(event.calls_stable) ?? 0),
    context.stageCalls[1] + (finite(event.calls_candidate) ?? 0),
  ];
}

/** What an event does to the share that is asked for, and the marks that it leaves in the plots. */
function steer(journal, event, at) {
  const { context } = journal;
  if (event.type === "stage_entered") {
    context.stageCalls = [0, 0];
    mark(journal, at, "stage");
  }
  if (event.type === "traffic_set") context.target = finite(event.percent) ?? context.target;
  if (event.type === "traffic_zeroed") context.target = 0;
  if (event.type === "rollback_began") mark(journal, at, "rollback");
  if (event.type === "paused") mark(journal, at, "paused");
}

function mark(journal, at, kind) {
  if (at !== null) journal.marks.push({ t: at / 1000, kind });
}

function takeLook(journal, seq, at, event) {
  const { context } = journal;
  const analysis = object(event.analysis);
  addCalls(context, event);
  context.lastAnalysis = analysis;
  const last = journal.items.at(-1);
  let run = last?.kind === "looks" && last.run.analysis.verdict === analysis.verdict ? last.run : null;
  if (run === null) {
    run = { looks: 0, from: moment(at) ?? NaN, until: NaN, creditMs: 0, calls: [0, 0], analysis };
    journal.items.push({ seq, at, kind: "looks", type: "ticked", run });
  }
  run.looks += 1;
  run.until = moment(at) ?? run.until;
  run.creditMs += finite(event.credit_ms) ?? 0;
  run.calls = [
    run.calls[0] + (finite(event.calls_stable) ?? 0),
    run.calls[1] + (finite(event.calls_candidate) ?? 0),
  ];
  run.analysis = analysis;
  Object.assign(journal.items.at(-1), describeLooks(run, context), { lastSeq: seq });
  const point = pointOf(moment(at), context.target, analysis);
  if (point !== null) journal.points.push(point);
  if (journal.points.length > POINTS) {
    journal.points = journal.points.filter((_, index) => index % 2 === 0);
  }
}

/** A point of the plots, from an analysis; null where its time is not known. */
export function pointOf(at, target, analysis) {
  if (at === null) return null;
  const [stable, candidate] = [object(analysis.stable), object(analysis.candidate)];
  const calls = [finite(stable.calls) ?? 0, finite(candidate.calls) ?? 0];
  const all = calls[0] + calls[1];
  const errors = (lane, index) => (calls[index] > 0 ? ((finite(lane.failed) ?? 0) / calls[index]) * 100 : null);
  return {
    t: at / 1000,
    target: finite(target),
    share: all > 0 ? (calls[1] / all) * 100 : null,
    p99: [finite(stable.p99_ms), finite(candidate.p99_ms)],
    errors: [errors(stable, 0), errors(candidate, 1)],
  };
}
