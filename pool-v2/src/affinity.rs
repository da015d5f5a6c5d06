//! Which worker a session prefers: rendezvous hashing over the slots.
//!
//! Invariant: a slot that goes moves only its own sessions; the others keep theirs.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The slot that scores highest for the session, of those in `slots`.
pub(crate) fn preferred(session: &str, slots: impl Iterator<Item = usize>) -> Option<usize> {
    slots.max_by_key(|slot| score(session, *slot))
}

fn score(session: &str, slot: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    slot.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_lost_slot_moves_only_its_own_sessions() {
        let sessions: Vec<String> = (0..500).map(|n| format!("session-{n}")).collect();
        for session in &sessions {
            let before = preferred(session, 0..8).unwrap();
            let after = preferred(session, (0..8).filter(|slot| *slot != 3)).unwrap();
            assert!(
                before == 3 || after == before,
                "{session} moved from {before} to {after}"
            );
        }
    }

    #[test]
    fn sessions_are_spread() {
        let mut counts = BTreeMap::<usize, usize>::new();
        for n in 0..4000 {
            *counts
                .entry(preferred(&format!("s{n}"), 0..4).unwrap())
                .or_default() += 1;
        }
        assert!(
            counts.values().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        assert_eq!(preferred("s", std::iter::empty()), None);
    }
}
