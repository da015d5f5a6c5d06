//! A pool in a model, under the load shapes of `tests/loads`: what the optimizer makes of them.
//!
//! Discrete events: calls arrive by chance at the recorded rate, are served in order by whichever
//! worker has a place, and take a log-normal time; a worker that is asked for is there a while
//! later, and one that is given back ends once it has no call. The pool is looked at once a second
//! by the same [`Meter`] that a real one has.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Direction, Load, Memory, Meter, Observation, OptimizerConfig, decide};
use crate::seeded::Seeded;

/// What the model's workers and calls are like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    /// Mean time of a call, in seconds, and the deviation of its logarithm.
    pub(super) service: f64,
    pub(super) spread: f64,
    /// From asking for a worker to its first call, in seconds.
    pub(super) start: f64,
    pub(super) concurrency: usize,
    /// The pool's size at the beginning.
    pub(super) size: usize,
    pub(super) seed: u64,
}

pub(super) const MODEL: Model = Model {
    service: 0.2,
    spread: 0.5,
    start: 0.1,
    concurrency: 1,
    size: 10,
    seed: 1,
};

/// One second of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second {
    pub(super) size: usize,
    pub(super) overflow: usize,
    busy: usize,
    places: usize,
}

pub(super) struct Run {
    pub(super) seconds: Vec<Second>,
    /// When each call arrived, and how long it waited, in seconds.
    waits: Vec<(f64, f64)>,
    /// Every change of size: when, and to what.
    pub(super) changes: Vec<(usize, Direction, String)>,
}

impl Run {
    /// The p95 of the waits of calls that arrived between two minutes, in milliseconds.
    pub(super) fn wait_p95(&self, from: usize, to: usize) -> f64 {
        let within = (from * 60) as f64..(to * 60) as f64;
        let mut waits: Vec<f64> = self
            .waits
            .iter()
            .filter(|(at, _)| within.contains(at))
            .map(|(_, wait)| *wait)
            .collect();
        waits.sort_by(f64::total_cmp);
        waits[waits.len() * 95 / 100] * 1000.0
    }

    /// Busy places over the places of ready workers, between two minutes.
    pub(super) fn utilization(&self, from: usize, to: usize) -> f64 {
        let within = &self.seconds[from * 60..to * 60];
        let busy: usize = within.iter().map(|second| second.busy).sum();
        let places: usize = within.iter().map(|second| second.places).sum();
        busy as f64 / places as f64
    }

    pub(super) fn sizes(&self, from: usize, to: usize) -> (usize, usize) {
        let within = &self.seconds[from * 60..to * 60];
        let sizes = within.iter().map(|second| second.size);
        (
            sizes.clone().min().expect("not empty"),
            sizes.max().expect("not empty"),
        )
    }

    /// How often the size went another way than before.
    pub(super) fn turns(&self) -> usize {
        let pairs = self.changes.windows(2);
        pairs.filter(|pair| pair[0].1 != pair[1].1).count()
    }

    pub(super) fn say(&self, name: &str, from: usize, to: usize) {
        println!(
            "{name}, minutes {from} to {to}: size {:?}, {:.0} % busy, wait p95 {:.0} ms; {} changes \
             and {} turns in all, overflow up to {}",
            self.sizes(from, to),
            self.utilization(from, to) * 100.0,
            self.wait_p95(from, to),
            self.changes.len(),
            self.turns(),
            self.seconds.iter().map(|s| s.overflow).max().unwrap_or(0),
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done(usize),
    Up(usize),
    Arrives,
    Second,
}

#[derive(Debug, Clone, Copy)]
struct Worker {
    up: bool,
    busy: usize,
    /// It ends when its last call is done.
    leaving: bool,
}

/// The rate of every second.
fn recorded(csv: &str) -> Vec<f64> {
    let lines = csv.lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows: Vec<(usize, f64)> = lines
        .map(|line| {
            let (second, rate) = line.split_once(',').expect("two columns");
            (
                second.parse().expect("a second"),
                rate.parse().expect("a rate"),
            )
        })
        .collect();
    let mut rates = Vec::new();
    for (index, (second, rate)) in rows.iter().enumerate() {
        assert_eq!(rates.len(), *second, "lines in order, from second 0 on");
        let step = rows[1].0 - rows[0].0;
        let until = rows.get(index + 1).map_or(second + step, |next| next.0);
        rates.resize(until, *rate);
    }
    rates
}

struct Simulation {
    model: Model,
    chance: Seeded,
    /// In microseconds, with a number that keeps equal times in order.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    workers: Vec<Worker>,
    waiting: VecDeque<u64>,
    wanted: (usize, usize),
    began: Instant,
    meter: Meter,
    run: Run,
}

impl Simulation {
    fn at(&mut self, micros: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((micros, self.number, event)));
    }

    fn instant(&self, micros: u64) -> Instant {
        self.began + Duration::from_micros(micros)
    }

    #[expect(clippy::cast_possible_truncation, reason = "microseconds of a run")]
    fn micros(seconds: f64) -> u64 {
        (seconds * 1e6) as u64
    }

    fn start_worker(&mut self, now: u64, after: f64) {
        let ready = Worker {
            up: after == 0.0,
            busy: 0,
            leaving: false,
        };
        let ended = |worker: &Worker| worker.leaving && worker.up && worker.busy == 0;
        let worker = self.workers.iter().position(ended).unwrap_or_else(|| {
            self.workers.push(ready);
            self.workers.len() - 1
        });
        self.workers[worker] = ready;
        if after > 0.0 {
            self.at(now + Self::micros(after), Event::Up(worker));
        }
    }

    /// Gives waiting calls to workers with a free place.
    fn serve(&mut self, now: u64) {
        let mut from = 0;
        while let Some(arrived) = self.waiting.front().copied() {
            let places = self.model.concurrency;
            let free = self.workers[from..]
                .iter()
                .position(|w| w.up && !w.leaving && w.busy < places);
            let Some(free) = free else { return };
            from += free;
            self.waiting.pop_front();
            self.workers[from].busy += 1;
            let wait = Duration::from_micros(now - arrived);
            let instant = self.instant(now);
            self.meter.waited(wait, instant);
            self.run
                .waits
                .push((arrived as f64 / 1e6, wait.as_secs_f64()));
            let (mean, spread) = (self.model.service, self.model.spread);
            let location = mean.ln() - spread * spread / 2.0;
            let takes = (location + spread * self.chance.normal()).exp();
            self.at(now + Self::micros(takes), Event::Done(from));
        }
    }

    fn staying(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.leaving)
    }

    fn second(&mut self, now: u64, config: &OptimizerConfig, memory: &mut Memory) {
        let instant = self.instant(now);
        let up = self.staying().filter(|worker| worker.up).count();
        let busy: usize = self.workers.iter().map(|worker| worker.busy).sum();
        let (size, overflow) = self.wanted;
        let ready = up.min(size);
        let places = ready * self.model.concurrency;
        let load = Load {
            busy,
            places,
            queued: self.waiting.len(),
            overflow: busy.saturating_sub(places).div_ceil(self.model.concurrency),
        };
        self.meter.look(load, instant);
        let second = Second {
            size,
            overflow,
            busy,
            places,
        };
        self.run.seconds.push(second);
        let since = memory.last_change();
        let whole = self.meter.measure(config.window, since, instant);
        let recent = self.meter.measure(config.interval, since, instant);
        let oldest = self.waiting.front().map_or(0, |arrived| now - arrived);
        let seen = Observation {
            samples: whole.samples,
            utilization: whole.utilization,
            recent: recent.utilization,
            queued: self.waiting.len(),
            mean_queued: recent.queued,
            mean_overflow: recent.overflow,
            oldest: Duration::from_micros(oldest),
            wait_p95: whole.wait_p95,
            recent_wait_p95: recent.wait_p95,
            busy,
            ready,
            overflow_ready: up - ready,
            size,
            overflow,
            concurrency: self.model.concurrency,
        };
        let decision = decide(config, &seen, memory, instant);
        if decision.size != size {
            let direction = if decision.size > size {
                Direction::Up
            } else {
                Direction::Down
            };
            let at = self.run.seconds.len();
            self.run.changes.push((at, direction, decision.reason));
        }
        self.wanted = (decision.size, decision.overflow);
        let wanted = decision.size + decision.overflow;
        while self.staying().count() < wanted {
            self.start_worker(now, self.model.start);
        }
        // The idle ones go first, the youngest of them.
        while self.staying().count() > wanted {
            let leaves = (0..self.workers.len())
                .filter(|index| !self.workers[*index].leaving)
                .min_by_key(|index| (self.workers[*index].busy, Reverse(*index)))
                .expect("there are more than wanted");
            self.workers[leaves].leaving = true;
        }
        self.serve(now);
    }
}

pub(super) fn simulate(config: &OptimizerConfig, model: Model, csv: &str) -> Run {
    assert_eq!(config.check(), Ok(()));
    let rates = recorded(csv);
    let mut simulation = Simulation {
        model,
        chance: Seeded::new(model.seed),
        events: BinaryHeap::new(),
        number: 0,
        workers: Vec::new(),
        waiting: VecDeque::new(),
        wanted: (model.size, 0),
        began: Instant::now(),
        meter: Meter::new(config.window),
        run: Run {
            seconds: Vec::new(),
            waits: Vec::new(),
            changes: Vec::new(),
        },
    };
    for _ in 0..model.size {
        simulation.start_worker(0, 0.0);
    }
    let mut memory = Memory::default();
    let mut rates = rates.into_iter();
    simulation.at(0, Event::Second);
    while let Some(Reverse((now, _, event))) = simulation.events.pop() {
        match event {
            Event::Second => {
                let Some(rate) = rates.next() else { break };
                for _ in 0..simulation.chance.poisson(rate) {
                    let offset = Simulation::micros(simulation.chance.unit());
                    simulation.at(now + offset, Event::Arrives);
                }
                simulation.second(now, config, &mut memory);
                simulation.at(now + 1_000_000, Event::Second);
            }
            Event::Arrives => {
                simulation.waiting.push_back(now);
                simulation.serve(now);
            }
            Event::Up(worker) => {
                simulation.workers[worker].up = true;
                simulation.serve(now);
            }
            Event::Done(worker) => {
                simulation.workers[worker].busy -= 1;
                simulation.serve(now);
            }
        }
    }
    let run = simulation.run;
    for second in &run.seconds {
        assert!((config.min..=config.max).contains(&second.size));
        assert!(second.overflow <= config.overflow);
    }
    run
}
