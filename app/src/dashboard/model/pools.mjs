// The pools and every worker in them.

import { DASH, bytes, count, counted, finite, list, object, span, text, words } from "./format.mjs";

const TONES = {
  ready: "good",
  busy: "good",
  initializing: "calm",
  degraded: "warn",
  terminating: "warn",
  terminated: "bad",
};

/** Both lanes' pools, the candidate's only while it is up. */
export function pools(status) {
  const { lanes } = object(status);
  return ["stable", "candidate"]
    .filter((lane) => object(lanes)[lane])
    .map((lane) => pool(lane, object(object(lanes)[lane])));
}

function pool(lane, seen) {
  const failures = finite(seen.failures) ?? 0;
  return {
    lane,
    name: text(seen.name) ?? DASH,
    kind: text(seen.kind) ?? DASH,
    tone: seen.draining ? "warn" : seen.ready === 0 ? "bad" : seen.ready < seen.size ? "warn" : "good",
    facts: [
      seen.draining ? "draining" : `${count(seen.ready)} of ${counted(seen.size, "worker")} ready`,
      `${count(seen.in_flight)} of ${count(seen.capacity)} calls in flight`,
      `${count(seen.queued)} queued`,
      `${counted(seen.starts, "start")}, ${counted(failures, "failure")}`,
    ],
    workers: list(seen.workers).map(object).map(worker),
  };
}

function worker(seen) {
  return {
    id: text(seen.id) ?? DASH,
    state: words(seen.state),
    // Only what is worth a word: a healthy worker's health is in its state.
    health: seen.health === "unhealthy" ? "unhealthy" : "",
    since: finite(seen.in_state_ms) === null ? DASH : span(Math.floor(seen.in_state_ms / 1000) * 1000),
    memory: bytes(seen.memory),
    tone: TONES[seen.state] ?? "calm",
    // A process id is a name, not a quantity: no separators.
    pid: finite(seen.pid) === null ? DASH : String(seen.pid),
    inFlight: count(seen.in_flight),
    calls: count(seen.calls),
    detail: text(seen.detail) ?? "",
  };
}
