//! One lane's calls in slots of time, as a ring: the oldest slot is overwritten by the newest.
//!
//! Each slot has a lock of its own: merging a long window must not stop the recording of calls.
//!
//! Invariant: a slot holds only calls of its own number. A call that is older than the ring
//! reaches is dropped, because its slot belongs to a newer time already.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::programs::Number;
use crate::{Blame, Latency, Outcome, ProgramWindow};

#[derive(Debug)]
pub(crate) struct Ring {
    slots: Vec<Mutex<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0 for a slot that was never used.
    number: u64,
    /// Few, so a walk is faster than a map.
    kinds: Vec<KindCount>,
    /// Sorted by program.
    programs: Vec<(Number, ProgramWindow)>,
}

#[derive(Debug, Clone, Copy)]
struct KindCount {
    kind: &'static str,
    blame: Option<Blame>,
    count: u64,
}

/// The merged calls of several slots.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) calls: u64,
    pub(crate) errors: BTreeMap<Blame, u64>,
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    pub(crate) programs: BTreeMap<Number, ProgramWindow>,
}

impl Ring {
    pub(crate) fn new(slots: u32) -> Self {
        Self {
            slots: (0..slots.max(1)).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn record(&self, number: u64, program: Number, outcome: &Outcome) {
        let mut slot = self.slot(number);
        if slot.number > number {
            return;
        }
        if slot.number < number {
            slot.number = number;
            slot.kinds.clear();
            slot.programs.clear();
        }
        slot.record(program, outcome);
    }

    /// The calls of all slots from `first` to `last`, both included.
    pub(crate) fn merged(&self, first: u64, last: u64) -> Merged {
        let mut merged = Merged::default();
        for number in first..=last {
            let slot = self.slot(number);
            if slot.number == number {
                merged.add(&slot);
            }
        }
        merged
    }

    /// The same, and the part of it that lies in `last`, as it was at the same moment.
    pub(crate) fn merged_and_last(&self, first: u64, last: u64) -> (Merged, Merged) {
        let mut merged = match last.checked_sub(1) {
            Some(before) => self.merged(first, before),
            None => Merged::default(),
        };
        let mut newest = Merged::default();
        let slot = self.slot(last);
        if slot.number == last {
            merged.add(&slot);
            newest.add(&slot);
        }
        (merged, newest)
    }

    fn slot(&self, number: u64) -> MutexGuard<'_, Slot> {
        // The remainder is smaller than a length, which is a usize.
        let index = usize::try_from(number % self.slots.len() as u64).unwrap_or(0);
        // A panic in the middle of an update leaves at worst one call counted in part. That is
        // better than a server that records nothing any more.
        self.slots[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn record(&mut self, program: Number, outcome: &Outcome) {
        let (kind, blame) = (outcome.kind, outcome.blame);
        match self
            .kinds
            .iter_mut()
            .find(|known| known.kind == kind && known.blame == blame)
        {
            Some(known) => known.count += 1,
            None => self.kinds.push(KindCount {
                kind,
                blame,
                count: 1,
            }),
        }
        let place = match self
            .programs
            .binary_search_by_key(&program, |(number, _)| *number)
        {
            Ok(place) => place,
            Err(place) => {
                self.programs
                    .insert(place, (program, ProgramWindow::default()));
                place
            }
        };
        let (_, calls) = &mut self.programs[place];
        calls.calls += 1;
        calls.errors += u64::from(blame.is_some());
        calls.faults += u64::from(blame.is_some_and(|blame| blame != Blame::Caller));
        calls.total.record(outcome.total);
        calls.overhead.record(outcome.overhead());
    }
}

impl Merged {
    fn add(&mut self, slot: &Slot) {
        for &KindCount { kind, blame, count } in &slot.kinds {
            self.calls += count;
            *self.kinds.entry(kind).or_default() += count;
            if let Some(blame) = blame {
                *self.errors.entry(blame).or_default() += count;
            }
        }
        for (number, calls) in &slot.programs {
            self.programs.entry(*number).or_default().merge(calls);
        }
    }

    /// Takes away what was in it at an earlier time.
    pub(crate) fn take_away(&mut self, earlier: &Self) {
        self.calls = self.calls.saturating_sub(earlier.calls);
        take_counts(&mut self.errors, &earlier.errors);
        take_counts(&mut self.kinds, &earlier.kinds);
        for (number, calls) in &earlier.programs {
            if let Some(ours) = self.programs.get_mut(number) {
                ours.take_away(calls);
            }
        }
        self.programs.retain(|_, calls| calls.calls > 0);
    }

    /// Total and overhead of all programs together.
    pub(crate) fn latencies(&self) -> (Latency, Latency) {
        let (mut total, mut overhead) = (Latency::new(), Latency::new());
        for program in self.programs.values() {
            total.merge(&program.total);
            overhead.merge(&program.overhead);
        }
        (total, overhead)
    }
}

fn take_counts<K: Ord>(counts: &mut BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) {
    for (what, count) in earlier {
        if let Some(ours) = counts.get_mut(what) {
            *ours = ours.saturating_sub(*count);
        }
    }
    counts.retain(|_, count| *count > 0);
}
