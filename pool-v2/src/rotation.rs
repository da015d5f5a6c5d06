//! Whose turn it is to be recycled: one worker at a time, and not one right after the other.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When a worker of the pool was last recycled.
#[derive(Debug, Default)]
pub(crate) struct Rotation(Mutex<Option<Instant>>);

impl Rotation {
    /// Takes the turn, where the last one was long enough ago.
    pub(crate) fn claim(&self, spacing: Duration, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = last.is_none_or(|last| now.saturating_duration_since(last) >= spacing);
        if free {
            *last = Some(now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_apart() {
        let (rotation, now) = (Rotation::default(), Instant::now());
        let spacing = Duration::from_secs(10);
        assert!(rotation.claim(spacing, now));
        assert!(!rotation.claim(spacing, now + Duration::from_secs(9)));
        assert!(rotation.claim(spacing, now + spacing));
    }
}
