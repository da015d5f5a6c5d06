//! How a look is written: one JSON text for each lane, with the buckets of latencies as a list of
//! numbers, and one for the rest.
//!
//! Invariant: what is read is judged as what was written. Text for people and what no rule looks at
//! (pids, details) is left out.

use std::collections::BTreeMap;

use dspex_flags::Percent;
use dspex_pool::{Growth, PoolStatus, WorkerStatus};
use dspex_telemetry::{Blame, HostUsage, LaneWindow, Latency, ProgramWindow};
use serde::{Deserialize, Serialize};

use crate::analysis::Verdict;
use crate::evidence::Differences;
use crate::sample::Sample;
use crate::thresholds::Action;

/// One lane's calls. Its sums over all programs are added up when it is read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LaneRow {
    calls: u64,
    seconds: f64,
    errors: BTreeMap<Blame, u64>,
    kinds: BTreeMap<String, u64>,
    programs: BTreeMap<String, ProgramRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProgramRow {
    calls: u64,
    errors: u64,
    faults: u64,
    total: Buckets,
    overhead: Buckets,
}

/// Each bucket's distance to the one before it, and its count.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Buckets(Vec<i64>);

/// What a look saw beside the calls, and what was made of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LookRow {
    pub(super) stage: Option<usize>,
    pub(super) epoch: u32,
    pub(super) missing: u64,
    pub(super) verdict: Verdict,
    pub(super) action: Option<Action>,
    pub(super) summary: String,
    percent: Percent,
    counts: bool,
    recorded: bool,
    host: HostUsage,
    pool: Option<PoolRow>,
    stable_growth: Option<Growth>,
    differences: Option<Vec<Differences>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PoolRow {
    name: String,
    size: usize,
    ready: usize,
    failures: u64,
    growth: Option<Growth>,
    /// What a worker has to say.
    detail: Option<String>,
}

/// A look in one line, as it is archived.
#[derive(Debug, Serialize)]
struct Line<'a> {
    migration: &'a str,
    seq: u64,
    at: jiff::Timestamp,
    watched: bool,
    pools: &'a [String; 2],
    /// Stable's and the candidate's, as the column `metrics` has them.
    lanes: [LaneRow; 2],
    /// As the column `look` has it.
    look: LookRow,
}

pub(super) fn line(look: &super::Recorded) -> Result<String, serde_json::Error> {
    let [stable, candidate] = &look.sample.lanes;
    serde_json::to_string(&Line {
        migration: look.migration.as_str(),
        seq: look.seq,
        at: look.at,
        watched: look.watched,
        pools: &look.pools,
        lanes: [LaneRow::of(stable), LaneRow::of(candidate)],
        look: LookRow::of(look),
    })
}

impl LaneRow {
    pub(super) fn of(lane: &LaneWindow) -> Self {
        let programs = lane.programs.iter().map(|(name, calls)| {
            let row = ProgramRow {
                calls: calls.calls,
                errors: calls.errors,
                faults: calls.faults,
                total: Buckets::of(&calls.total),
                overhead: Buckets::of(&calls.overhead),
            };
            (name.clone(), row)
        });
        Self {
            calls: lane.calls,
            seconds: lane.seconds,
            errors: lane.errors.clone(),
            kinds: lane.kinds.clone(),
            programs: programs.collect(),
        }
    }

    pub(super) fn read(self) -> LaneWindow {
        let mut lane = LaneWindow {
            calls: self.calls,
            seconds: self.seconds,
            errors: self.errors,
            kinds: self.kinds,
            ..LaneWindow::default()
        };
        for (name, row) in self.programs {
            let calls = ProgramWindow {
                calls: row.calls,
                errors: row.errors,
                faults: row.faults,
                total: row.total.read(),
                overhead: row.overhead.read(),
            };
            lane.total.merge(&calls.total);
            lane.overhead.merge(&calls.overhead);
            lane.programs.insert(name, calls);
        }
        lane
    }
}

impl Buckets {
    fn of(latency: &Latency) -> Self {
        let mut before = 0;
        let pairs = latency.buckets().flat_map(|(key, count)| {
            let distance = i64::from(key) - before;
            before = i64::from(key);
            [distance, i64::try_from(count).unwrap_or(i64::MAX)]
        });
        Self(pairs.collect())
    }

    fn read(&self) -> Latency {
        let mut key = 0;
        Latency::from_buckets(self.0.chunks_exact(2).map(|pair| {
            key += pair[0];
            let bucket = i16::try_from(key).unwrap_or(i16::MAX);
            (bucket, u64::try_from(pair[1]).unwrap_or_default())
        }))
    }
}

impl LookRow {
    pub(super) fn of(look: &super::Recorded) -> Self {
        let sample = &look.sample;
        let pool = sample.candidate_pool.as_ref().map(|pool| PoolRow {
            name: pool.name.clone(),
            size: pool.size,
            ready: pool.ready,
            failures: pool.failures,
            growth: pool.growth.clone(),
            detail: pool.workers.iter().find_map(|worker| worker.detail.clone()),
        });
        Self {
            stage: look.stage,
            epoch: look.epoch,
            missing: look.missing,
            verdict: look.verdict,
            action: look.action,
            summary: look.summary.clone(),
            percent: sample.percent,
            counts: sample.counts,
            recorded: sample.recorded,
            host: sample.host,
            pool,
            stable_growth: sample.stable_growth.clone(),
            differences: sample.differences.clone(),
        }
    }

    pub(super) fn sample(&self, lanes: [LaneWindow; 2]) -> Sample {
        Sample {
            lanes,
            candidate_pool: self.pool.as_ref().map(PoolRow::read),
            stable_growth: self.stable_growth.clone(),
            differences: self.differences.clone(),
            host: self.host,
            recorded: self.recorded,
            percent: self.percent,
            counts: self.counts,
        }
    }
}

impl PoolRow {
    fn read(&self) -> PoolStatus {
        let workers = self.detail.iter().map(|detail| WorkerStatus {
            detail: Some(detail.clone()),
            ..WorkerStatus::default()
        });
        PoolStatus {
            name: self.name.clone(),
            kind: "recorded",
            size: self.size,
            ready: self.ready,
            failures: self.failures,
            growth: self.growth.clone(),
            workers: workers.collect(),
            ..PoolStatus::default()
        }
    }
}
