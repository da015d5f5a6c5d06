//! What copies and comparisons look like at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dspex_flags::dspex;
use dspex_pool::ProgramId;
use dspex_telemetry::Lane;
use serde::Serialize;
use tokio::time::Instant;

use super::case::Case;
use super::record::ProgramComparison;
use super::{leading, lock};
use crate::router::Router;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counted by whoever sees it.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        /// What became of the calls that were drawn for a copy, since the router was made.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct ShadowCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            fn read(&self) -> ShadowCounts {
                ShadowCounts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Calls drawn by the share.
    drawn,
    /// Not copied: the program acts on the world.
    side_effects,
    /// Not copied: the program keeps a state for each session.
    stateful,
    /// Not copied: the answer was streamed.
    streamed,
    /// Not copied: inputs or outputs are larger than is copied.
    too_large,
    /// Dropped: the queue was full.
    queue_full,
    /// Dropped: it had waited too long.
    too_old,
    /// Dropped: the candidate it was for is gone.
    no_candidate,
    /// Dropped: as many programs are compared for this candidate as can be told apart, and this is
    /// another one.
    too_many_programs,
    /// Dropped: the lane's circuit is not closed.
    circuit,
    /// Dropped: the lane has no room beside its callers.
    busy,
    /// Dropped: the cost cap of the minute is used up.
    cost,
    /// Dropped: the budget that callers' second tries come from has nothing left for copies.
    budget,
    /// Copies made.
    copied,
    /// Calls made on stable once more, to learn its noise.
    controls,
    /// Comparisons left unjudged: the user's comparer was not asked, because stable had no room for
    /// it beside its callers, or the cost cap or the budget none.
    comparer_no_room,
}

/// Copies and comparisons at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShadowView {
    /// The share of calls that are drawn, in percent.
    pub share_percent: f64,
    /// The lane whose answers are copied from; the other one gets the copies.
    pub leading: Lane,
    /// Whether there is a candidate to compare with.
    pub candidate: bool,
    /// Copies that wait.
    pub queued: usize,
    /// Copies that may wait.
    pub queue: usize,
    /// Copies of the last minute.
    pub calls_last_minute: u64,
    /// Copies of a minute at most.
    pub calls_per_minute: u64,
    /// Tokens of the last minute, as far as answers said them.
    pub tokens_last_minute: u64,
    /// Tokens of a minute at most; 0 for no limit.
    pub tokens_per_minute: u64,
    /// What became of the calls that were drawn.
    pub counts: ShadowCounts,
    /// Program by program, for the candidate there is, or was last.
    pub programs: Vec<ProgramComparison>,
    /// Differences that are kept.
    pub cases: usize,
    /// The users' comparers that were asked.
    pub comparers: Vec<ComparerView>,
}

/// One user's comparer at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparerView {
    /// Its program.
    pub program: ProgramId,
    /// How often it judged.
    pub judged: u64,
    /// How often it did not.
    pub failed: u64,
    /// It failed too often in a row, and is not asked for so many milliseconds.
    pub suspended_ms: Option<u64>,
    /// Why it did not judge the last time it did not.
    pub trouble: Option<String>,
}

impl Router {
    /// What copies and comparisons look like right now. Cheap: nobody is asked.
    pub fn shadow(&self) -> ShadowView {
        let now = Instant::now();
        let flags = self.served.load();
        let shadow = &self.shadow;
        let config = &shadow.config;
        let (calls, tokens) = lock(&shadow.cost).used(now);
        let (programs, cases) = {
            let record = lock(&shadow.record);
            (record.told(config.noise), record.cases.len())
        };
        ShadowView {
            share_percent: flags.percent(&dspex::SHADOW_PERCENTAGE).percent(),
            leading: leading(&flags),
            candidate: self.candidate_lane().is_some(),
            queued: config.queue - shadow.queue.capacity(),
            queue: config.queue,
            calls_last_minute: calls,
            calls_per_minute: config.calls_per_minute,
            tokens_last_minute: tokens,
            tokens_per_minute: config.tokens_per_minute,
            counts: shadow.counters.read(),
            programs,
            cases,
            comparers: lock(&shadow.comparers).told(now),
        }
    }

    /// The differences that are kept, at most `limit`, the newest first; of one program, where one
    /// is named.
    pub fn shadow_cases(&self, program: Option<&ProgramId>, limit: usize) -> Vec<Arc<Case>> {
        lock(&self.shadow.record).cases.newest(program, limit)
    }

    /// One difference, where it is (still) kept.
    pub fn shadow_case(&self, id: u64) -> Option<Arc<Case>> {
        lock(&self.shadow.record).cases.get(id)
    }
}
