//! Programs as small numbers, so that a slot holds no text, and bounded in number, so that a
//! caller who makes programs without end cannot fill our memory.
//!
//! Invariant: a number is given to another program only when the former one was not called for
//! twice as long as a window reaches, so that no window whose end is not older than one reach
//! mistakes the one for the other.

use std::collections::HashMap;
use std::sync::Arc;

use crate::OTHER;

/// A program's number. 0 is [`OTHER`].
pub(crate) type Number = u32;

pub(crate) const OTHER_NUMBER: Number = 0;

#[derive(Debug)]
pub(crate) struct Programs {
    numbers: HashMap<Arc<str>, Number>,
    /// By number.
    known: Vec<Known>,
    max: usize,
    /// After how many slots without a call a program may lose its number.
    forget_after: u64,
    /// The slot in which a full table was last searched in vain: once a slot is enough.
    searched: Option<u64>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    last_slot: u64,
}

impl Programs {
    pub(crate) fn new(max: usize, slots: u32) -> Self {
        let other: Arc<str> = OTHER.into();
        Self {
            numbers: HashMap::from([(Arc::clone(&other), OTHER_NUMBER)]),
            known: vec![Known {
                name: other,
                last_slot: 0,
            }],
            max,
            forget_after: 2 * u64::from(slots),
            searched: None,
        }
    }

    /// The number for a call of `name` in `slot`.
    pub(crate) fn number(&mut self, name: &Arc<str>, slot: u64) -> Number {
        if let Some(&number) = self.numbers.get(name) {
            let known = &mut self.known[number as usize];
            known.last_slot = known.last_slot.max(slot);
            return number;
        }
        // `known` holds `OTHER` beside the programs.
        if self.known.len() <= self.max
            && let Ok(number) = Number::try_from(self.known.len())
        {
            self.known.push(Known {
                name: Arc::clone(name),
                last_slot: slot,
            });
            self.numbers.insert(Arc::clone(name), number);
            return number;
        }
        self.replace_forgotten(name, slot).unwrap_or(OTHER_NUMBER)
    }

    pub(crate) fn name(&self, number: Number) -> &str {
        &self.known[number as usize].name
    }

    fn replace_forgotten(&mut self, name: &Arc<str>, slot: u64) -> Option<Number> {
        if self.searched == Some(slot) {
            return None;
        }
        let forgotten =
            (1..self.known.len()).find(|&i| self.known[i].last_slot + self.forget_after <= slot);
        let Some(index) = forgotten else {
            self.searched = Some(slot);
            return None;
        };
        let number = Number::try_from(index).ok()?;
        let known = Known {
            name: Arc::clone(name),
            last_slot: slot,
        };
        let former = std::mem::replace(&mut self.known[index], known);
        self.numbers.remove(&former.name);
        self.numbers.insert(Arc::clone(name), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn programs_beyond_the_greatest_number_are_other() {
        let mut programs = Programs::new(2, 5);
        let a = programs.number(&name("a"), 1);
        let b = programs.number(&name("b"), 1);
        assert_eq!(programs.number(&name("c"), 1), OTHER_NUMBER);
        assert_eq!((programs.name(a), programs.name(b)), ("a", "b"));
        assert_eq!(programs.number(&name("a"), 2), a);
        assert_eq!(programs.number(&name(OTHER), 2), OTHER_NUMBER);
        assert_eq!(programs.name(OTHER_NUMBER), OTHER);
    }

    #[test]
    fn a_number_is_taken_from_a_program_only_when_it_is_long_forgotten() {
        let mut programs = Programs::new(2, 5);
        let a = programs.number(&name("a"), 1);
        let b = programs.number(&name("b"), 1);
        assert_eq!(programs.number(&name("b"), 8), b);
        assert_eq!(programs.number(&name("c"), 10), OTHER_NUMBER);
        let c = programs.number(&name("c"), 11);
        assert_eq!(c, a);
        assert_eq!(programs.name(c), "c");
        assert_eq!(programs.number(&name("a"), 11), OTHER_NUMBER);
        assert_eq!(
            programs.number(&name("d"), 12),
            OTHER_NUMBER,
            "b was called in slot 8"
        );
        assert_eq!(programs.number(&name("b"), 12), b);
    }

    #[test]
    fn no_program_may_be_told_apart() {
        let mut programs = Programs::new(0, 5);
        assert_eq!(programs.number(&name("a"), 1), OTHER_NUMBER);
        assert_eq!(programs.number(&name("a"), 1_000), OTHER_NUMBER);
    }
}
