// What the plots draw: the journal's looks where the journal is to be had, and otherwise what this
// page has seen since it was opened.

import { finite, object } from "./format.mjs";
import { pointOf } from "./journal.mjs";

/** Points of the page's own: half an hour at one a second. */
const KEPT = 1800;

/** Calls that failed, but for the caller's own faults: as the analysis counts them. */
export function failures(window) {
  const { provider, program, pool } = object(object(window).errors);
  return (finite(provider) ?? 0) + (finite(program) ?? 0) + (finite(pool) ?? 0);
}

/** A point from `/v1/status`. */
export function livePoint(at, status) {
  const { traffic, flags } = object(status);
  const { pool_v2_enabled: enabled, gradual_rollout_percentage: share } = object(object(flags).values);
  const seen = (window) => ({
    calls: object(window).calls,
    failed: failures(window),
    p99_ms: object(object(window).total).p99_ms,
  });
  const { stable, candidate } = object(traffic);
  return pointOf(at, enabled === true ? share : 0, { stable: seen(stable), candidate: seen(candidate) });
}

/** Adds a point, and lets the oldest go. */
export function keep(points, point) {
  if (point === null) return points;
  return [...points, point].slice(-KEPT);
}

/**
 * The journal's points, and the look that a rollback was decided by: that one is in no entry of its
 * own, but it is the one to see.
 */
export function withLastLook(journal, migration) {
  const { analysis, phase } = object(migration);
  const began = journal.marks.find((mark) => mark.kind === "rollback");
  if (!began || phase === "rollout" || object(analysis).verdict !== "critical") return journal.points;
  return [...journal.points.filter((point) => point.t < began.t), pointOf(began.t * 1000, journal.points.at(-1)?.target, analysis)];
}

/** Columns for the plots: time in seconds, then each line. Two points are the least to draw. */
export function columns(points) {
  const sorted = points.filter((point) => finite(point.t) !== null).sort((a, b) => a.t - b.t);
  if (sorted.length < 2) return null;
  const time = sorted.map((point) => point.t);
  const line = (pick) => sorted.map((point) => finite(pick(point)));
  return {
    share: [time, line((p) => p.target), line((p) => p.share)],
    p99: [time, line((p) => p.p99[0]), line((p) => p.p99[1])],
    errors: [time, line((p) => p.errors[0]), line((p) => p.errors[1])],
  };
}
