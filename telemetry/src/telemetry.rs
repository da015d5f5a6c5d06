//! The one place where finished calls are recorded: into the windows, and into the metrics.
//!
//! Invariants: recording awaits nothing, holds a lock for one slot's update at most, and takes
//! memory that is bounded by `span / slot × max_programs`, whatever callers do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::calls::CallMetrics;
use crate::cursor::Cursor;
use crate::programs::Programs;
use crate::ring::{Merged, Ring};
use crate::sink::Sink;
use crate::{Config, Lane, LaneWindow, Outcome, Prometheus};

/// Takes the outcomes of calls and answers for any recent stretch of time.
#[derive(Debug)]
pub struct Telemetry {
    slot: Duration,
    /// How many slots a window holds at most.
    slots: u32,
    /// Where slot 1 begins. No call is filed under slot 0.
    epoch: Instant,
    enabled: AtomicBool,
    programs: Mutex<Programs>,
    lanes: [Ring; 2],
    recorded: [AtomicU64; 2],
    metrics: CallMetrics,
}

impl Telemetry {
    /// Records into windows, and into whichever metrics recorder this process has installed by
    /// now: install it first.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self::build(config, Sink::Installed, Instant::now()))
    }

    /// Records into windows and into `prometheus`, installed or not.
    #[must_use]
    pub fn with_prometheus(config: Config, prometheus: &Prometheus) -> Arc<Self> {
        Arc::new(Self::build(
            config,
            Sink::Own(prometheus.clone()),
            Instant::now(),
        ))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the constructors take what they are made of"
    )]
    fn build(config: Config, sink: Sink, epoch: Instant) -> Self {
        let slots = config.slots();
        Self {
            slot: config.slot_length(),
            slots,
            epoch,
            enabled: AtomicBool::new(true),
            programs: Mutex::new(Programs::new(config.max_programs, slots)),
            lanes: [Ring::new(slots), Ring::new(slots)],
            recorded: [AtomicU64::new(0), AtomicU64::new(0)],
            metrics: CallMetrics::new(sink),
        }
    }

    /// Records one finished call.
    pub fn record(&self, outcome: &Outcome, now: Instant) {
        self.metrics.record(outcome);
        if self.is_enabled() {
            let number = self.slot_number(now);
            let program = self.programs().number(&outcome.program, number);
            self.lanes[outcome.lane as usize].record(number, program, outcome);
            self.recorded[outcome.lane as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What `lane` did from `since` to `now`.
    ///
    /// Time is cut into slots: the whole slot in which `since` lies is part of the window, and so
    /// is the whole slot of `now`. Whoever must not see a call from before `since` asks from
    /// `since` + [`slot`](Self::slot). Nothing older than the configured span (and one slot) is
    /// part of a window.
    #[must_use]
    pub fn window(&self, lane: Lane, since: Instant, now: Instant) -> LaneWindow {
        let last = self.slot_number(now);
        let oldest = (last + 1).saturating_sub(u64::from(self.slots));
        let first = self.slot_number(since).max(oldest);
        let merged = self.lanes[lane as usize].merged(first, last);
        self.named(
            merged,
            now.saturating_duration_since(self.slot_start(first)),
        )
    }

    /// Begins to take calls: those after this moment.
    #[must_use]
    pub fn cursor(&self, now: Instant) -> Cursor {
        let mut cursor = Cursor {
            slot: self.slot_number(now),
            at: now,
            taken: Default::default(),
        };
        let _before = self.take(&mut cursor, now);
        cursor
    }

    /// What the lanes did since the last take, stable first: each call once, however time is cut. A
    /// call that is recorded for a slot before that of the last take is in none, and so is what was
    /// recorded longer ago than the configured span.
    #[must_use]
    pub fn take(&self, cursor: &mut Cursor, now: Instant) -> [LaneWindow; 2] {
        let now = now.max(cursor.at);
        let last = self.slot_number(now);
        let oldest = (last + 1).saturating_sub(u64::from(self.slots));
        let covered = now.saturating_duration_since(cursor.at);
        let fresh = Lane::ALL.map(|lane| {
            let ring = &self.lanes[lane as usize];
            let (mut merged, newest) = ring.merged_and_last(cursor.slot.max(oldest), last);
            let taken = std::mem::replace(&mut cursor.taken[lane as usize], newest);
            if cursor.slot >= oldest {
                merged.take_away(&taken);
            }
            self.named(merged, covered)
        });
        (cursor.slot, cursor.at) = (last, now);
        fresh
    }

    fn named(&self, merged: Merged, covered: Duration) -> LaneWindow {
        let (total, overhead) = merged.latencies();
        let mut window = LaneWindow {
            calls: merged.calls,
            errors: merged.errors,
            kinds: merged
                .kinds
                .into_iter()
                .map(|(kind, n)| (kind.to_owned(), n))
                .collect(),
            total,
            overhead,
            seconds: covered.as_secs_f64(),
            ..LaneWindow::default()
        };
        let programs = self.programs();
        for (number, calls) in merged.programs {
            window
                .programs
                .entry(programs.name(number).to_owned())
                .or_default()
                .merge(&calls);
        }
        window
    }

    /// How many calls were recorded for `lane` since the start, exactly. The difference of two
    /// readings is the calls between them, to the call; a window is only exact to its slots.
    #[must_use]
    pub fn recorded(&self, lane: Lane) -> u64 {
        self.recorded[lane as usize].load(Ordering::Relaxed)
    }

    /// Switches the windows on or off. While they are off, calls are counted in the metrics alone
    /// and windows get no new calls: an analysis then lacks samples, which is never taken for
    /// health.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Whether the windows are switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// How finely time is cut.
    #[must_use]
    pub fn slot(&self) -> Duration {
        self.slot
    }

    fn programs(&self) -> MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From 1. Times before the epoch are filed under slot 1.
    fn slot_number(&self, at: Instant) -> u64 {
        let since_epoch = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since_epoch / self.slot.as_nanos()).unwrap_or(u64::MAX - 2) + 1
    }

    fn slot_start(&self, number: u64) -> Instant {
        let nanos = u128::from(number.saturating_sub(1)) * self.slot.as_nanos();
        // 2^64 nanoseconds are 584 years.
        self.epoch + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
