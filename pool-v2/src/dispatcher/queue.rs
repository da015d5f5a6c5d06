//! Those who wait for a worker: some for any, some for a certain one.
//!
//! Invariant: whoever waits for any is served in order of arrival; whoever waits for a certain slot
//! is served in order of arrival among those who wait for it; between the two, the earlier first.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Asked, Handle, Wish};
use crate::lease::Lease;

/// A place in the queue. Tickets grow with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    number: u64,
    /// The slot, where only one will do.
    only: Option<usize>,
}

/// Somebody in the queue.
#[derive(Debug)]
pub(super) struct Waiter<W: Handle> {
    pub(super) grant: oneshot::Sender<Lease<W>>,
    pub(super) asked: Asked,
}

type Line<W> = VecDeque<(u64, Waiter<W>)>;

#[derive(Debug)]
pub(super) struct Queue<W: Handle> {
    last: u64,
    any: Line<W>,
    /// By slot. Lines that are empty are not kept.
    certain: BTreeMap<usize, Line<W>>,
    certain_count: usize,
}

impl<W: Handle> Default for Queue<W> {
    fn default() -> Self {
        Self {
            last: 0,
            any: VecDeque::new(),
            certain: BTreeMap::new(),
            certain_count: 0,
        }
    }
}

impl<W: Handle> Queue<W> {
    pub(super) fn len(&self) -> usize {
        self.any.len() + self.certain_count
    }

    pub(super) fn anybody_for_any(&self) -> bool {
        !self.any.is_empty()
    }

    pub(super) fn anybody_for(&self, slot: usize) -> bool {
        self.certain_count > 0 && self.certain.contains_key(&slot)
    }

    /// Since when the longest waiting has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let heads = self.certain.values().filter_map(VecDeque::front);
        heads
            .chain(self.any.front())
            .map(|(_, waiter)| waiter.asked.since)
            .min()
    }

    pub(super) fn push(&mut self, waiter: Waiter<W>) -> Ticket {
        self.last += 1;
        let only = waiter.asked.wish.and_then(Wish::only);
        let line = match only {
            None => &mut self.any,
            Some(slot) => {
                self.certain_count += 1;
                self.certain.entry(slot).or_default()
            }
        };
        line.push_back((self.last, waiter));
        Ticket {
            number: self.last,
            only,
        }
    }

    /// Whoever came first of those who can be served, and the slot where it must be a certain one.
    /// Some slot has room.
    pub(super) fn pop(
        &mut self,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<(Option<usize>, Waiter<W>)> {
        let mut first = self.any.front().map(|(number, _)| (*number, None));
        if self.certain_count > 0 {
            for (slot, line) in &self.certain {
                if let Some((number, _)) = line.front()
                    && has_room(*slot)
                    && first.is_none_or(|(earliest, _)| *number < earliest)
                {
                    first = Some((*number, Some(*slot)));
                }
            }
        }
        match first? {
            (_, None) => Some((None, self.any.pop_front()?.1)),
            (_, Some(slot)) => {
                let line = self.certain.get_mut(&slot)?;
                let waiter = line.pop_front()?.1;
                self.taken_from(slot);
                Some((Some(slot), waiter))
            }
        }
    }

    /// Takes whoever holds the ticket out, where they still wait.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter<W>> {
        let line = match ticket.only {
            None => &mut self.any,
            Some(slot) => self.certain.get_mut(&slot)?,
        };
        // Tickets only grow. One that is not there has been granted.
        let index = line
            .binary_search_by_key(&ticket.number, |(number, _)| *number)
            .ok()?;
        let (_, waiter) = line.remove(index)?;
        if let Some(slot) = ticket.only {
            self.taken_from(slot);
        }
        Some(waiter)
    }

    /// Sends everybody away.
    pub(super) fn clear(&mut self) -> Vec<Waiter<W>> {
        let certain = std::mem::take(&mut self.certain);
        self.certain_count = 0;
        let any = std::mem::take(&mut self.any);
        certain
            .into_values()
            .flatten()
            .chain(any)
            .map(|(_, waiter)| waiter)
            .collect()
    }

    fn taken_from(&mut self, slot: usize) {
        self.certain_count -= 1;
        if self.certain.get(&slot).is_some_and(VecDeque::is_empty) {
            self.certain.remove(&slot);
        }
    }
}
