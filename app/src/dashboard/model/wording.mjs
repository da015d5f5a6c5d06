// The journal's events in plain words: what happened, on whose word, and why it was allowed.
//
// Invariant: only text comes out of here. Whatever people or programs wrote (reasons, names) stays
// text; the view puts it into the page as text and never as markup.

import { DASH, count, counted, finite, latency, list, object, percent, span, text, words } from "./format.mjs";

const CONTROLLER = "controller";

/** Who, and why: of a cause as the journal writes it. */
export function cause(value) {
  const { by, who, why } = object(value);
  return { who: by === "person" ? (text(who) ?? "somebody") : CONTROLLER, why: text(why) };
}

/** What was asked for, in words. */
export function command(value) {
  if (typeof value === "string") return value === "rollback" ? "roll back" : words(value);
  const promote = object(value).promote;
  if (promote) return object(promote).to_end ? "promote to the end" : "promote";
  const sign = object(value).sign;
  if (sign) return `sign ${text(object(sign).line) ?? "a line"}`;
  return "do something";
}

/** One lane of an analysis in one line. */
export function laneSeen(name, seen) {
  const { calls, failed, p99_ms: p99 } = object(seen);
  return `${name}: ${counted(calls, "call")}, ${count(failed)} failed, p99 ${latency(p99)}`;
}

function stageName(context, stage, share) {
  const number = finite(stage) === null ? DASH : String(stage + 1);
  const of = context.stageCount ? ` of ${context.stageCount}` : "";
  return { short: `Stage ${number}${of}`, share: percent(share) };
}

function checks(values) {
  return list(values).map((value) => {
    const { name, ok, value: found, limit, hint } = object(value);
    const todo = ok ? "" : `; ${text(hint) ?? "no hint"}`;
    return {
      ok: ok === true,
      text: `${text(name) ?? "a check"}: found ${text(found) ?? DASH}, needs ${text(limit) ?? DASH}${todo}`,
    };
  });
}

/** Why a stage may be entered: what the event before it says. */
function permission(before) {
  if (before?.type === "stage_left") {
    const { who, why } = cause(before.cause);
    const stage = finite(before.stage) === null ? "the stage before" : `stage ${before.stage + 1}`;
    return who === CONTROLLER
      ? { who, why: `Allowed because ${stage} was over: ${why ?? DASH}` }
      : { who, why: `Allowed on ${who}’s word: ${why ?? DASH}` };
  }
  if (before?.type === "step_done") {
    const done = counted(list(before.checks).length, "check");
    return { who: CONTROLLER, why: `Allowed because ${words(before.step)} passed: ${done}` };
  }
  return { who: CONTROLLER, why: null };
}

const WORDS = {
  started(event, context) {
    const plan = object(event.plan);
    const stages = list(plan.stages).map((stage) => percent(object(stage).percent));
    return {
      title: `Migration from ${context.stable} to ${context.candidate} began`,
      who: text(event.who),
      why: text(event.why),
      facts: stages.length > 0 ? [{ text: `by ${stages.join(", ")}` }] : [],
      tone: "person",
    };
  },
  step_done(event) {
    const looked = checks(event.checks);
    const passed = looked.length > 0 ? `${counted(looked.length, "check")} passed` : null;
    return { title: `${capital(words(event.step))} done`, why: passed, facts: looked, tone: "good" };
  },
  step_failed(event) {
    return {
      title: `${capital(words(event.step))} failed`,
      why: text(event.reason),
      facts: checks(event.checks),
      tone: "bad",
    };
  },
  stage_entered(event, context) {
    const { short, share } = stageName(context, event.stage, event.percent);
    const waived = event.waived ? " (its hold is waived)" : "";
    const seen = context.lastAnalysis;
    const facts = [];
    if (context.before?.type === "stage_left" && seen) {
      facts.push({ text: `the last look before it: ${words(seen.verdict)}` });
      facts.push({ text: laneSeen(context.candidate, seen.candidate) });
      facts.push({ text: laneSeen(context.stable, seen.stable) });
    }
    if (context.before?.type === "step_done") facts.push(...checks(context.before.checks));
    return {
      title: `${short}: ${share} of the traffic goes to ${context.candidate}${waived}`,
      ...permission(context.before),
      facts,
      tone: "stage",
    };
  },
  traffic_set(event) {
    return {
      title: `Every router serves ${percent(event.percent)}`,
      why: `acknowledged, flags at revision ${count(event.revision)}`,
      tone: "good",
    };
  },
  traffic_delayed(event) {
    return { title: "Traffic is not moved yet; it is tried again", why: text(event.reason), tone: "warn" };
  },
  stage_left(event, context) {
    const { short } = stageName(context, event.stage);
    const [stable, candidate] = context.stageCalls;
    const all = stable + candidate;
    const measured = all > 0 ? `, ${percent((candidate / all) * 100)} measured` : "";
    return {
      title: `${short} is over`,
      ...cause(event.cause),
      facts: [
        { text: `${counted(candidate, "call")} on ${context.candidate}, ${count(stable)} on ${context.stable}${measured}` },
      ],
      tone: "info",
    };
  },
  commanded(event) {
    const who = text(event.who) ?? "somebody";
    const refused = text(event.refused);
    return {
      title: `${who} asks to ${command(event.command)}${refused ? ", which is refused" : ""}`,
      who,
      why: text(event.why),
      facts: refused ? [{ text: `refused: ${refused}`, ok: false }] : [],
      tone: refused ? "warn" : "person",
    };
  },
  signed: (event) => ({
    title: `${text(event.who) ?? "somebody"} signs ${text(event.line) ?? "a line"} of the checklist`,
    who: text(event.who),
    why: text(event.why),
    tone: "person",
  }),
  paused: (event) => ({ title: "Paused: traffic stays as it is", ...cause(event.cause), tone: "warn" }),
  resumed: (event) => ({ title: "It goes on", ...cause(event.cause), tone: "person" }),
  rollback_began: (event, context) => ({
    title: `Rolling back: all traffic returns to ${context.stable}`,
    ...cause(event.cause),
    tone: "bad",
  }),
  traffic_zeroed: (event, context) => ({
    title: `Every router serves 0 %: nothing goes to ${context.candidate} any more`,
    why: `acknowledged, flags at revision ${count(event.revision)}`,
    tone: "good",
  }),
  withdrawn: (event, context) => ({
    title: `${context.candidate} is withdrawn`,
    why: `${counted(event.finished, "call")} finished while it drained, ${count(event.abandoned)} cut off`,
    tone: event.abandoned > 0 ? "warn" : "info",
  }),
  withdraw_failed: (event, context) => ({
    title: `${context.candidate} could not be withdrawn; it is tried again`,
    why: text(event.reason),
    tone: "warn",
  }),
  watched: (event) => ({
    title: `Looked after the end: ${words(object(event.analysis).verdict)}`,
    why: null,
    facts: list(object(event.analysis).reasons).map((reason) => text(object(reason).text)).filter(Boolean).map((said) => ({ text: said })),
    tone: { warning: "warn", critical: "bad" }[object(event.analysis).verdict] ?? "info",
  }),
  gate_waiting: (event, context) => ({
    title: `${stageName(context, event.stage).short} waits for its gate`,
    why: text(event.reason),
    tone: "warn",
  }),
  gate_opened: (event, context) => ({
    title: `The gate of ${stageName(context, event.stage).short.toLowerCase()} is open`,
    ...cause(event.cause),
    tone: "good",
  }),
  frozen: (event) => ({
    title: text(event.until) === null ? "Frozen" : `Frozen until ${text(event.until)}`,
    why: text(event.why),
    tone: "warn",
  }),
  validation_began: (_, context) => ({ title: `${context.candidate} is held against ${context.stable} once more`, why: null, tone: "info" }),
  validation_skipped: (event) => ({ title: "Not validated", ...cause(event.cause), tone: "info" }),
  rested: (event, context) => ({
    title: `${context.stable} is cold: it wakes on its first call`,
    why: `${counted(event.finished, "call")} finished while it drained, ${count(event.abandoned)} cut off`,
    tone: "info",
  }),
  rest_delayed: (event, context) => ({ title: `${context.stable} is not cold yet; it is tried again`, why: text(event.reason), tone: "warn" }),
  decommission_began: (event, context) => ({ title: `${context.stable} is taken out of service`, ...cause(event.cause), tone: "person" }),
  decommission_called_off: (event, context) => ({ title: `${context.stable} stays: it may not go yet`, why: text(event.reason), tone: "warn" }),
  decommissioned: (_, context) => ({ title: `${context.candidate} is stable, and ${context.stable} is gone`, why: null, tone: "good" }),
  demoted: (_, context) => ({ title: `${context.stable} is stable again`, why: null, tone: "info" }),
  stuck: (event) => ({ title: "Stuck: a person must act", why: text(event.todo), tone: "bad" }),
  completed: (_, context) => ({
    title: `Complete: ${context.candidate} serves all traffic`,
    who: CONTROLLER,
    why: "it can still be rolled back",
    tone: "good",
  }),
  rolled_back: (_, context) => ({
    title: `Rolled back: everything is as before, on ${context.stable}`,
    why: null,
    tone: "info",
  }),
};

/** One event in words: `{title, who, why, facts: [{text, ok?}], tone}`. */
export function describe(event, context) {
  const { type } = object(event);
  const known = Object.hasOwn(WORDS, type) ? WORDS[type] : null;
  const said = known
    ? known(event, context)
    : { title: capital(words(type)), why: null, facts: [], tone: "info" };
  return { who: CONTROLLER, why: null, facts: [], ...said };
}

/** A run of looks with the same verdict, in words. */
export function describeLooks(run, context) {
  const { verdict } = run.analysis;
  const lasted = run.until - run.from;
  const during = run.looks > 1 && Number.isFinite(lasted) ? ` in ${span(lasted)}` : "";
  const times = run.looks === 1 ? "once" : `${count(run.looks)} times`;
  const credit =
    run.creditMs > 0
      ? `${span(run.creditMs)} of healthy time counted`
      : verdict === "healthy"
        ? "the healthy time begins to count"
        : "no healthy time counted";
  const calls = `${counted(run.calls[1], "call")} on ${context.candidate}, ${count(run.calls[0])} on ${context.stable}`;
  const reasons = list(run.analysis.reasons).map((reason) => text(object(reason).text)).filter(Boolean);
  return {
    title: `Looked ${times}${during}: ${words(verdict)}`,
    who: CONTROLLER,
    why: run.calls[0] + run.calls[1] > 0 ? `${credit}; ${calls}` : credit,
    facts: reasons.map((said) => ({ text: said })),
    tone: { healthy: "good", warning: "warn", critical: "bad" }[verdict] ?? "info",
  };
}

/** With a capital letter. */
export function capital(said) {
  return said.charAt(0).toUpperCase() + said.slice(1);
}
