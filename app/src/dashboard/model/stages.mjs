// The way of a migration: phases, stages with where it stands, and the hold.

import { DASH, finite, list, object, percent, readSpan, span, text } from "./format.mjs";

const WAY = ["prepare", "deploy", "verify", "rollout", "validate", "complete"];
/** The old pool's end, shown once it is taken. */
const END = ["decommission", "decommissioned"];
const BACK = ["rolling_back", "rolled_back", "stuck"];

/** Whether it is under way, so that commands make sense. */
export function isLive(status) {
  const phase = text(object(status).phase);
  return phase !== null && !["complete", "rolled_back", "decommissioned"].includes(phase);
}

/** The phases, each `done`, `current` or `next`. The way back is shown once it is taken. */
export function phases(status) {
  const phase = text(object(status).phase);
  if (phase === null) return [];
  if (BACK.includes(phase)) {
    const over = phase === "rolled_back";
    return [
      { name: "rolling back", state: phase === "rolling_back" ? "current" : "done" },
      phase === "stuck"
        ? { name: "stuck", state: "current" }
        : { name: "rolled back", state: over ? "current" : "next" },
    ];
  }
  const way = END.includes(phase) ? [...WAY, ...END] : WAY;
  const at = way.indexOf(phase);
  return way.map((name, index) => ({
    name,
    state: index < at ? "done" : index === at ? "current" : "next",
  }));
}

/**
 * The stages from 0 %, each `{percent, hold, measured, calls, state}`. The plan is in the journal;
 * without it the stages to come are not known by their share, and say so.
 */
export function stageBar(status, plan) {
  const seen = object(status);
  const live = text(seen.phase) !== null;
  const planned = list(object(plan).stages);
  const records = list(seen.stages);
  const total = Math.max(planned.length, finite(seen.stage_count) ?? 0, records.length);
  const back = BACK.includes(seen.phase);
  const at = back ? -1 : (finite(seen.stage) ?? -1);
  const whole = ["validate", "complete", ...END].includes(seen.phase);
  const stages = [
    { percent: "0 %", hold: null, measured: null, state: live && at < 0 && !whole ? "current" : "done" },
  ];
  for (let index = 0; index < Math.min(total, 100); index += 1) {
    const record = object(records.find((one) => object(one).stage === index));
    const step = object(planned[index]);
    const share = finite(record.percent) ?? finite(step.percent);
    const entered = text(record.entered_at) !== null;
    let state = index < at || whole ? "done" : index === at ? "current" : "next";
    if (back) state = entered ? "undone" : "next";
    stages.push({
      percent: share === null ? "? %" : percent(share),
      hold: holdText(record, step),
      measured: finite(record.measured_percent) === null ? null : percent(record.measured_percent),
      state,
    });
  }
  return stages;
}

function holdText(record, step) {
  const wanted = readSpan(record.hold) ?? readSpan(step.hold);
  const seen = readSpan(record.healthy);
  if (wanted === null) return null;
  return seen === null ? span(wanted) : `${span(seen)} of ${span(wanted)}`;
}

/** Healthy time seen of the time wanted: `{value: 0..1, text, waits}`, or null without a stage. */
export function hold(status) {
  const seen = object(status);
  if (seen.phase !== "rollout" || finite(seen.stage) === null) return null;
  const [healthy, wanted] = [readSpan(seen.healthy_for), readSpan(seen.hold)];
  if (wanted === null) {
    return { value: 1, text: "the hold of this stage is waived", waits: waiting(seen) };
  }
  const value = wanted > 0 ? Math.min(1, (healthy ?? 0) / wanted) : 1;
  const left = Math.max(0, wanted - (healthy ?? 0));
  return {
    value,
    text: `${healthy === null ? DASH : span(healthy)} of ${span(wanted)} seen healthy, ${span(left)} to go`,
    waits: waiting(seen),
  };
}

/** What it waits for beside its hold: a gate, the end of a freeze. */
function waitingFor(status) {
  return text(status.waiting_for);
}

/** Why the hold does not count at present, or null while it counts. */
function waiting(status) {
  if (status.paused) return "the clock stands: it is paused";
  if (status.acknowledged === false) {
    return `the clock stands: not every router serves ${percent(status.percent)} yet`;
  }
  const verdict = text(object(status.analysis).verdict);
  if (verdict === null) return "the clock stands until the first look";
  if (verdict === "healthy") return waitingFor(status);
  return `the clock stands while the verdict is ${verdict}`;
}
