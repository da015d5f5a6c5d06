// The one sentence at the top, and what is said aloud when something important changes.

import { finite, list, object, percent, text } from "./format.mjs";
import { cause } from "./wording.mjs";

/** `{tone, title, detail}` of the migration. */
export function headline(status) {
  const seen = object(status);
  const candidate = text(seen.candidate) ?? "the candidate";
  const stable = text(seen.stable) ?? "stable";
  const phase = text(seen.phase);
  if (phase === null) {
    return {
      tone: "calm",
      title: "No migration yet",
      detail: "`dspex migrate start --why '…'` begins one, and this page shows it.",
    };
  }
  // The server's line begins with the phase, which the title says already.
  const outcome = text(seen.outcome)?.replace(/^(rolled back|rolling back|stuck while rolling back): /, "") ?? null;
  if (phase === "rolled_back") {
    return { tone: "bad", title: `Rolled back: ${stable} serves all traffic`, detail: outcome };
  }
  if (phase === "rolling_back") {
    return { tone: "bad", title: `Rolling back to ${stable}`, detail: outcome };
  }
  if (phase === "stuck") {
    return { tone: "bad", title: "Stuck: traffic is at 0 %, and a person must act", detail: reasons(seen) ?? outcome };
  }
  if (phase === "complete") {
    const kept = seen.rested === true ? "cold: it wakes on its first call" : "warm: a rollback is instant";
    const detail = seen.rested === undefined ? null : `${stable} is kept ${kept}`;
    return { tone: "good", title: `Complete: ${candidate} serves all traffic`, detail };
  }
  if (phase === "decommissioned") {
    return { tone: "good", title: `${candidate} is stable, and ${stable} is gone`, detail: null };
  }
  const share = `${percent(seen.percent)} of the traffic goes to ${candidate}`;
  if (seen.paused) {
    const { who, why } = cause(seen.paused);
    return { tone: "warn", title: `Paused: ${share}`, detail: `${who}: ${why ?? "no reason given"}` };
  }
  if (phase === "rollout") {
    const stage = finite(seen.stage);
    const at = stage === null ? "" : `Stage ${stage + 1} of ${seen.stage_count ?? "?"}: `;
    const moving = seen.acknowledged === false ? "not every router serves that yet" : text(seen.waiting_for);
    return { tone: "live", title: `${at}${share}`, detail: moving };
  }
  const doing = {
    prepare: `Looking whether ${candidate} can be brought in`,
    deploy: `Bringing up ${candidate}, with no traffic`,
    verify: `Looking whether ${candidate} can serve`,
    validate: `${candidate} serves all traffic, and is held against ${stable} once more`,
    decommission: `Taking ${stable} out of service`,
  };
  return { tone: "live", title: doing[phase] ?? `Phase ${phase}`, detail: reasons(seen) };
}

function reasons(status) {
  const said = list(status.reasons).filter((reason) => text(reason) !== null);
  return said.length > 0 ? said.join("; ") : null;
}

/** What changed between two states that must be heard, or null. */
export function announcement(before, after) {
  const now = headline(after);
  if (before === undefined) return null;
  const changes = [];
  if (headline(before).title !== now.title) changes.push(now.title, now.detail);
  const verdicts = [before, after].map((status) => text(object(object(status).analysis).verdict));
  if (verdicts[1] !== null && verdicts[0] !== verdicts[1]) {
    const why = list(object(after).reasons).find((reason) => text(reason) !== null);
    changes.push(`The verdict is ${verdicts[1]}`, why);
  }
  const said = changes.filter((change) => text(change) !== null);
  return said.length > 0 ? `${said.join(". ")}.` : null;
}
