//! Calls that never were: heavy-tailed, of several programs, more by day than by night.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_pool::PoolStatus;
use dspex_telemetry::{Blame, HostUsage, Lane, LaneWindow, Latency};

use super::Random;
use crate::sample::Sample;

/// A day.
const DAY: f64 = 86_400.0;

/// How long something takes: log-normal, as latencies of models and queues are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// What half of the calls take no longer than.
    pub median: Duration,
    /// The deviation of the logarithm: 0.5 makes the p99 3.2 times the median.
    pub sigma: f64,
}

/// One program.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its share of the calls, against the sum of all shares.
    pub weight: f64,
    /// How long it takes itself.
    pub time: Spread,
    /// How long all else takes: queue, dispatch, wire.
    pub overhead: Spread,
    /// The share of its calls that fail, by its own or its provider's fault.
    pub failing: f64,
}

/// The calls that come.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Calls in a second, over a day.
    pub per_second: f64,
    /// How much more than that come at noon, and how much less at midnight: 0 to 1.
    pub swing: f64,
    /// What is called.
    pub programs: Vec<Program>,
}

/// How the candidate differs from stable.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Difference {
    /// So many more of its calls fail, as a share of all: 0.05 is five in a hundred more.
    pub failing: f64,
    /// Its calls take longer by this share: 0.2 is a fifth more.
    pub slower: f64,
}

/// Makes the samples of one run.
#[derive(Debug, Clone)]
pub struct Traffic {
    load: Load,
    difference: Difference,
    random: Random,
    /// Seconds since midnight of the first day.
    clock: f64,
}

impl Load {
    /// Five programs as a house has them: quick and slow, steady and not.
    #[must_use]
    pub fn typical(per_second: f64) -> Self {
        let program = |name: &str, weight, millis, sigma, failing| Program {
            name: name.to_owned(),
            weight,
            time: Spread {
                median: Duration::from_millis(millis),
                sigma,
            },
            overhead: Spread {
                median: Duration::from_millis(6),
                sigma: 0.5,
            },
            failing,
        };
        Self {
            per_second,
            swing: 0.6,
            programs: vec![
                program("classify", 5.0, 450, 0.45, 0.004),
                program("answer", 3.0, 1_400, 0.6, 0.008),
                program("summarize", 1.5, 3_200, 0.7, 0.01),
                program("essay", 0.4, 9_000, 0.8, 0.015),
                program("judge", 0.1, 700, 1.0, 0.03),
            ],
        }
    }
}

impl Spread {
    fn draw(&self, random: &mut Random) -> Duration {
        self.median.mul_f64((self.sigma * random.normal()).exp())
    }
}

impl Traffic {
    /// The calls of this seed. They begin at some time of the day.
    #[must_use]
    pub fn new(load: Load, difference: Difference, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clock = random.share() * DAY;
        Self {
            load,
            difference,
            random,
            clock,
        }
    }

    /// What comes within `span`, with this share of it on the candidate.
    pub fn sample(&mut self, percent: Percent, span: Duration) -> Sample {
        let seconds = span.as_secs_f64();
        self.clock += seconds;
        let day = 1.0 - self.load.swing * (self.clock / DAY * std::f64::consts::TAU).cos();
        let share = crate::wording::fraction(percent);
        let all: f64 = self
            .load
            .programs
            .iter()
            .map(|program| program.weight)
            .sum();
        let mut lanes = <[LaneWindow; 2]>::default();
        for place in 0..self.load.programs.len() {
            let weight = self.load.programs[place].weight / all;
            let calls = self
                .random
                .number(self.load.per_second * day * weight * seconds);
            for _ in 0..calls {
                let lane = if self.random.share() < share {
                    Lane::Candidate
                } else {
                    Lane::Stable
                };
                self.call(place, lane, &mut lanes[lane as usize]);
            }
        }
        for lane in &mut lanes {
            lane.seconds = seconds;
            let (mut total, mut overhead) = (Latency::new(), Latency::new());
            for program in lane.programs.values() {
                total.merge(&program.total);
                overhead.merge(&program.overhead);
            }
            (lane.total, lane.overhead) = (total, overhead);
        }
        Sample {
            lanes,
            candidate_pool: Some(pool()),
            host: HostUsage {
                cpu_percent: Some(40.0),
                memory_percent: Some(50.0),
                ..HostUsage::default()
            },
            recorded: true,
            percent,
            counts: true,
            ..Sample::default()
        }
    }

    fn call(&mut self, place: usize, lane: Lane, window: &mut LaneWindow) {
        let program = &self.load.programs[place];
        let (mut failing, mut slower) = (program.failing, 1.0);
        if lane == Lane::Candidate {
            failing += self.difference.failing;
            slower += self.difference.slower;
        }
        let fails = self.random.share() < failing;
        let time = program.time.draw(&mut self.random).mul_f64(slower);
        let overhead = program.overhead.draw(&mut self.random).mul_f64(slower);
        if !window.programs.contains_key(&program.name) {
            window
                .programs
                .insert(program.name.clone(), Default::default());
        }
        window.calls += 1;
        let kind = if fails { "program-failed" } else { "ok" };
        if fails {
            *window.errors.entry(Blame::Program).or_default() += 1;
        }
        match window.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(window.kinds.insert(kind.to_owned(), 1)),
        }
        if let Some(calls) = window.programs.get_mut(&program.name) {
            calls.calls += 1;
            calls.errors += u64::from(fails);
            calls.faults += u64::from(fails);
            calls.total.record(time + overhead);
            calls.overhead.record(overhead);
        }
    }
}

/// A pool that is well.
fn pool() -> PoolStatus {
    PoolStatus {
        name: "simulated".to_owned(),
        kind: "simulated",
        size: 4,
        ready: 4,
        capacity: 16,
        starts: 4,
        ..PoolStatus::default()
    }
}
