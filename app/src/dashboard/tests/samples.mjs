// What the server answers, shortened: the ground that the tests stand on.

export const EVIL = `<script>alert("x")</script><img src=x onerror=alert(1)>`;

export const plan = {
  stable: "v1",
  candidate: "v2",
  stages: [5, 10, 25, 50, 75, 100].map((percent) => ({ percent, hold: "10s" })),
  shadow: 5,
  thresholds: {
    minimum_samples: 20,
    error_rate: { limit: 5, action: "log" },
    critical_error_rate: { limit: 10, action: "rollback" },
    error_ratio: { limit: 3, action: "rollback" },
    p99_ratio: { limit: 2, action: "rollback" },
    median_ratio: { limit: 2, action: "rollback" },
    overhead_p99: { limit: "200ms", action: "log" },
    worker_failure_rate: { limit: 10, action: "rollback" },
    memory_growth: { limit: 10, action: "rollback" },
    difference_rate: { limit: 5, action: "pause" },
    degradation: { limit: 10, action: "note" },
    cpu: { limit: 80, action: "note" },
    memory: { limit: 90, action: "note" },
  },
};

export function analysis(verdict, more = {}) {
  return {
    verdict,
    reasons: [],
    seconds: 10,
    stable: { calls: 900, failed: 1, pool_faults: 0, p50_ms: 20, p99_ms: 40, overhead_p99_ms: 9 },
    candidate: { calls: 100, failed: 2, pool_faults: 1, p50_ms: 21, p99_ms: 44, overhead_p99_ms: 11 },
    ...more,
  };
}

export function tick(seq, verdict, more = {}) {
  const event = { type: "ticked", credit_ms: verdict === "healthy" ? 500 : 0, calls_stable: 90, calls_candidate: 10, analysis: analysis(verdict) };
  return entry(seq, { ...event, ...more });
}

export function entry(seq, event) {
  return { seq, at: new Date(Date.parse("2026-01-02T10:00:00Z") + seq * 500).toISOString(), event };
}

export const started = entry(1, { type: "started", plan, who: "alice", why: "Python 3.13" });
export const verified = entry(2, {
  type: "step_done",
  step: "verify",
  checks: [{ name: "workers of v2 are ready", ok: true, value: "3 of 3", limit: "all of them", hint: null }],
});
export const entered = entry(3, { type: "stage_entered", stage: 0, percent: 5, waived: false });
export const set = entry(4, { type: "traffic_set", percent: 5, revision: 7 });

export function migration(more = {}) {
  return {
    id: "m-1",
    candidate: "v2",
    stable: "v1",
    phase: "rollout",
    paused: null,
    stage: 1,
    stage_count: 6,
    percent: 10,
    acknowledged: true,
    healthy_for: "2s 500ms",
    hold: "10s",
    analysis: analysis("healthy"),
    stages: [
      { stage: 0, percent: 5, hold: "10s", healthy: "10s", entered_at: "2026-01-02T10:00:00Z", left_at: "2026-01-02T10:00:12Z", measured_percent: 4.9 },
      { stage: 1, percent: 10, hold: "10s", healthy: "2s", entered_at: "2026-01-02T10:00:12Z", left_at: null, measured_percent: null },
    ],
    started_at: "2026-01-02T09:59:00Z",
    ended_at: null,
    who: "alice",
    why: "Python 3.13",
    outcome: null,
    reasons: [],
    last_seq: 9,
    ...more,
  };
}

/** Fails where a missing figure has come through as it was. */
export function assertReadable(assert, said) {
  assert.doesNotMatch(JSON.stringify(said), /NaN|Infinity|undefined|\[object|"null|null %/);
}
