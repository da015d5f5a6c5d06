// The latest verdict rule by rule: what was found, what is asked for, what is lacking.
//
// Invariant: a rule is said to pass only where a look judged it. Without a look, or without calls
// enough, it is said to wait; where only the plan tells whether it is judged at all, nothing is said
// without the plan.

import { isLive } from "./stages.mjs";
import { DASH, count, finite, fraction, latency, list, object, percent, rate, readSpan, text, words } from "./format.mjs";

const RULES = [
  {
    rule: "minimum_samples",
    name: "Enough calls in each lane",
    limit: (rules) => `${count(rules.minimum_samples)} calls`,
    value: (seen) => `${count(seen.candidate.calls)} candidate, ${count(seen.stable.calls)} stable`,
  },
  {
    rule: "critical_error_rate",
    name: "Pool faults, critical",
    limit: (rules) => percent(rules.critical_error_rate?.limit),
    value: (seen) => rate(seen.candidate.pool_faults, seen.candidate.calls),
  },
  {
    rule: "error_rate",
    name: "Pool faults",
    impliedBy: ["critical_error_rate"],
    limit: (rules) => percent(rules.error_rate?.limit),
    value: (seen) => rate(seen.candidate.pool_faults, seen.candidate.calls),
  },
  {
    rule: "error_ratio",
    name: "Failed calls against stable",
    limit: (rules) => times(rules.error_ratio),
    value: (seen) =>
      `${rate(seen.candidate.failed, seen.candidate.calls)}, stable ${rate(seen.stable.failed, seen.stable.calls)}`,
  },
  {
    rule: "p99_ratio",
    name: "p99 against stable, by program",
    limit: (rules) => times(rules.p99_ratio),
    value: (seen) => `${latency(seen.candidate.p99_ms)}, stable ${latency(seen.stable.p99_ms)}`,
  },
  {
    rule: "median_ratio",
    name: "Median against stable, by program",
    judgedWith: "p99_ratio",
    limit: (rules) => times(rules.median_ratio),
    value: (seen) => `${latency(seen.candidate.p50_ms)}, stable ${latency(seen.stable.p50_ms)}`,
  },
  {
    rule: "overhead_p99",
    name: "p99 of the overhead",
    limit: (rules) => latency(readSpan(rules.overhead_p99?.limit)),
    value: (seen) => latency(seen.candidate.overhead_p99_ms),
  },
  {
    rule: "worker_failure_rate",
    name: "Workers that failed",
    limit: (rules) => percent(rules.worker_failure_rate?.limit),
    value: () => null,
  },
  {
    rule: "memory_growth",
    name: "Memory of the workers grows",
    limit: (rules) => (finite(rules.memory_growth?.limit) === null ? DASH : `${percent(rules.memory_growth.limit)} an hour`),
    value: () => null,
  },
  {
    rule: "difference_rate",
    name: "Copied calls answered differently",
    // The plan is in the journal, which is not read without the admin token.
    off: (plan) => (finite(plan.shadow) === null ? null : plan.shadow === 0),
    limit: (rules) => percent(rules.difference_rate?.limit),
    value: () => null,
  },
  {
    rule: "degradation",
    name: "Worse than stable at all",
    impliedBy: ["error_ratio", "p99_ratio"],
    limit: (rules) => (finite(rules.degradation?.limit) === null ? DASH : `+ ${percent(rules.degradation.limit)}`),
    value: () => null,
  },
  {
    rule: "cpu",
    name: "CPU of the host",
    limit: (rules) => percent(rules.cpu?.limit),
    value: (_, host) => percent(host.cpu_percent),
  },
  {
    rule: "memory",
    name: "Memory of the host",
    limit: (rules) => percent(rules.memory?.limit),
    value: (_, host) => percent(host.memory_percent),
  },
];

const ACTIONS = { note: "is noted", log: "holds", pause: "pauses", rollback: "rolls back" };
const STATES = { broken: 0, waits: 1, warning: 2, unjudged: 3, unknown: 3, noted: 4, passes: 5, off: 6, unseen: 6, never: 6 };
const SAID = {
  broken: "broken",
  waits: "waits",
  warning: "warning",
  unjudged: "not judged",
  unknown: "not known",
  noted: "noted",
  passes: "passes",
  off: "not compared",
  unseen: "not looked at yet",
  never: "never judged",
};

function times(rule) {
  return finite(rule?.limit) === null ? DASH : `${rule.limit} × stable’s`;
}

/** A reason's number with its unit. `degradation` speaks of shares and of latencies. */
function measure(reason, value) {
  if (finite(value) === null) return null;
  const inMs = ["overhead_p99", "p99_ratio", "median_ratio"].includes(reason.rule) || reason.degraded === "latency";
  if (inMs) return latency(value);
  return reason.rule === "memory_growth" ? `${fraction(value)} an hour` : fraction(value);
}

function stateOf(reason) {
  if (reason.verdict === "critical") return "broken";
  if (reason.verdict === "warning") return "warning";
  if (reason.verdict === "inconclusive") return "waits";
  return finite(reason.value) === null ? "unjudged" : "noted";
}

/** The verdict, what it means for the migration, and a row for every rule. */
export function verdict(status, plan, host) {
  const migration = object(status);
  const analysis = migration.analysis ? object(migration.analysis) : null;
  const thresholds = object(object(plan).thresholds);
  const seen = { stable: object(analysis?.stable), candidate: object(analysis?.candidate) };
  const reasons = list(analysis?.reasons).map(object);
  const around = { plan: object(plan), thresholds, seen, reasons, analysis, host: object(host), over: !isLive(migration) };
  const rows = [];
  for (const rule of RULES) {
    const own = reasons.filter((reason) => reason.rule === rule.rule);
    rows.push(...(own.length > 0 ? own : [null]).map((reason) => row(rule, reason, around)));
  }
  for (const reason of reasons.filter((one) => !RULES.some((rule) => rule.rule === one.rule))) {
    const strange = { rule: reason.rule, name: capitalised(words(reason.rule)), limit: () => DASH, value: () => null };
    rows.push(row(strange, reason, around));
  }
  rows.sort((a, b) => STATES[a.state] - STATES[b.state]);
  return {
    verdict: analysis ? (text(analysis.verdict) ?? "unknown") : "none",
    tone: { healthy: "good", warning: "warn", inconclusive: "calm", critical: "bad" }[analysis?.verdict] ?? "calm",
    means: means(migration, analysis),
    rows: migration.phase ? rows : [],
  };
}

function row(rule, reason, seen) {
  const found = reason ? stateOf(reason) : unspoken(rule, seen);
  // Nobody will look any more: "yet" would be a promise.
  const state = found === "unseen" && seen.over ? "never" : found;
  // What is done when the rule is broken: of the plan, or of a reason that says it is broken. One that
  // says that it was not judged names no such thing.
  const breach = ["broken", "warning", "noted"].includes(state) ? text(reason?.action) : null;
  const action = text(object(seen.thresholds[rule.rule]).action) ?? breach;
  const limit = rule.limit(seen.thresholds);
  const [said, needs] = [text(reason?.text), text(reason?.needs)];
  return {
    rule: text(rule.rule) ?? DASH,
    name: rule.name,
    state,
    said: SAID[state],
    value: (reason && measure(reason, reason.value)) ?? (seen.analysis ? rule.value(seen.seen, seen.host) : null) ?? DASH,
    limit: limit === DASH ? ((reason && measure(reason, reason.limit)) ?? DASH) : limit,
    text: said,
    // Most sentences end with what is needed; said once is enough.
    needs: needs !== null && said?.includes(needs) ? null : needs,
    action: ACTIONS[action] ?? null,
  };
}

/** The state of a rule of which the analysis says nothing: it found nothing wrong, if it looked. */
function unspoken(rule, seen) {
  const off = rule.off ? rule.off(seen.plan) : false;
  if (off) return "off";
  if (!seen.analysis) return "unseen";
  const broken = seen.reasons.find((reason) => (rule.impliedBy ?? []).includes(reason.rule) && reason.verdict === "critical");
  if (broken) return "warning";
  const beside = seen.reasons.find((reason) => reason.rule === rule.judgedWith);
  if (beside && stateOf(beside) === "unjudged") return "unjudged";
  const blind = seen.reasons.some((reason) => ["minimum_samples", "telemetry", "candidate"].includes(reason.rule));
  if (blind && !["cpu", "memory", "minimum_samples"].includes(rule.rule)) return "unseen";
  return off === null ? "unknown" : "passes";
}

function means(status, analysis) {
  if (!status.phase) return "Nothing is being judged.";
  const over = !isLive(status);
  if (!analysis) return over ? "The candidate was never judged: it had no traffic." : "The candidate is judged as soon as it has traffic.";
  if (status.phase !== "rollout") return over && status.phase !== "complete" ? "The last look of this migration." : "The last look.";
  return (
    {
      healthy: "Nothing speaks against the candidate: the stage ages.",
      warning: "Something is not as it should be: the stage does not age.",
      inconclusive: "Not enough is known, and unknown is not healthy: the stage does not age.",
      critical: "A rule is broken that stops or moves traffic.",
    }[analysis.verdict] ?? DASH
  );
}

function capitalised(said) {
  return said.charAt(0).toUpperCase() + said.slice(1);
}
