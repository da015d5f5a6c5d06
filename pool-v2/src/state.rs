//! The life of one worker, as a state machine.
//!
//! Invariants: the state is only written here, and along the arrows of [`legal`]; every change but
//! that between ready and busy has a reason and is kept, the latest [`KEPT`] of a slot. A slot's next
//! worker begins a life of its own.
//!
//! ```text
//! initializing ─▶ ready ⇄ busy          terminating ─▶ terminated
//!      │            ⇅       │                ▲
//!      │        degraded ◀──┘   ready, busy, degraded
//!      ▼
//! terminated
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{Health, WorkerChange, WorkerState};
use tokio::time::Instant;

use crate::clock;

/// Changes that a slot remembers. Leases are not among them: a worker that answers a thousand calls
/// a second would remember nothing else.
const KEPT: usize = 32;

/// Whether a worker may go from the one state to the other.
pub(crate) fn legal(from: WorkerState, to: WorkerState) -> bool {
    use WorkerState::{Busy, Degraded, Initializing, Ready, Terminated, Terminating};
    matches!(
        (from, to),
        (Initializing, Ready | Terminated)
            | (Ready, Busy | Degraded | Terminating)
            | (Busy, Ready | Degraded | Terminating)
            | (Degraded, Ready | Terminating)
            | (Terminating, Terminated)
    )
}

/// A change that the machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker cannot go from {from:?} to {to:?}")]
pub(crate) struct Illegal {
    from: WorkerState,
    to: WorkerState,
}

/// One worker's state, health and, for its slot, what came before.
#[derive(Debug)]
pub(crate) struct Life {
    worker: Arc<str>,
    state: WorkerState,
    since: Instant,
    health: Health,
    detail: Option<String>,
    history: VecDeque<WorkerChange>,
}

impl Life {
    /// The life of a slot's first worker, which is about to be started.
    pub(crate) fn new(worker: Arc<str>, now: Instant) -> Self {
        Self {
            worker,
            state: WorkerState::Initializing,
            since: now,
            health: Health::Unknown,
            detail: None,
            history: VecDeque::new(),
        }
    }

    /// The life of the slot's next worker. What the slot remembers goes on; another worker is no
    /// change of state, so this is no arrow of the machine.
    pub(crate) fn succeed(&mut self, worker: Arc<str>, now: Instant) {
        self.worker = worker;
        self.state = WorkerState::Initializing;
        self.since = now;
        self.health = Health::Unknown;
    }

    /// Leaves the slot to its next worker, whose life this becomes, and answers the old one's.
    pub(crate) fn hand_over(&mut self, successor: Arc<str>, now: Instant) -> Self {
        let history = self.history.clone();
        let old = std::mem::replace(self, Self::new(successor, now));
        self.history = history;
        old
    }

    /// Remembers a change of a worker that was here before.
    pub(crate) fn remember(&mut self, change: WorkerChange) {
        if self.history.len() == KEPT {
            self.history.pop_front();
        }
        self.history.push_back(change);
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.state
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    pub(crate) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    pub(crate) fn in_state(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(crate) fn history(&self) -> Vec<WorkerChange> {
        self.history.iter().cloned().collect()
    }

    /// Goes to another state, for a reason that is worth remembering.
    pub(crate) fn enter(
        &mut self,
        to: WorkerState,
        reason: &str,
        now: Instant,
    ) -> Result<(), Illegal> {
        let from = self.state;
        if !legal(from, to) {
            return Err(Illegal { from, to });
        }
        self.state = to;
        self.since = now;
        match to {
            WorkerState::Ready => {
                self.health = Health::Healthy;
                self.detail = None;
            }
            WorkerState::Degraded => self.health = Health::Unhealthy,
            WorkerState::Terminated => self.health = Health::Unknown,
            WorkerState::Initializing | WorkerState::Busy | WorkerState::Terminating => {}
        }
        if !matches!(to, WorkerState::Ready) {
            self.detail = Some(reason.to_owned());
        }
        tracing::info!(
            target: "dspex::worker::state",
            worker = %self.worker, ?from, ?to, reason, "a worker changed its state"
        );
        self.remember(WorkerChange {
            worker: self.worker.to_string(),
            at: clock::wall(),
            from,
            to,
            reason: reason.to_owned(),
        });
        Ok(())
    }

    /// A ready worker got its first call, or a busy one ended its last. Nothing to remember.
    pub(crate) fn work(&mut self, busy: bool, now: Instant) {
        match (self.state, busy) {
            (WorkerState::Ready, true) => self.state = WorkerState::Busy,
            (WorkerState::Busy, false) => self.state = WorkerState::Ready,
            _ => return,
        }
        self.since = now;
    }

    /// What a health check said that changes no state.
    pub(crate) fn checked(&mut self, healthy: bool) {
        self.health = if healthy {
            Health::Healthy
        } else {
            Health::Unhealthy
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [WorkerState; 6] = [
        WorkerState::Initializing,
        WorkerState::Ready,
        WorkerState::Busy,
        WorkerState::Degraded,
        WorkerState::Terminating,
        WorkerState::Terminated,
    ];

    fn life() -> Life {
        Life::new("v2-0.0".into(), Instant::now())
    }

    /// A life that was led along the arrows into this state.
    fn led_to(state: WorkerState) -> Life {
        let path: &[WorkerState] = match state {
            WorkerState::Initializing => &[],
            WorkerState::Ready => &[WorkerState::Ready],
            WorkerState::Busy => &[WorkerState::Ready, WorkerState::Busy],
            WorkerState::Degraded => &[WorkerState::Ready, WorkerState::Degraded],
            WorkerState::Terminating => &[WorkerState::Ready, WorkerState::Terminating],
            WorkerState::Terminated => &[WorkerState::Terminated],
        };
        let mut life = life();
        for state in path {
            life.enter(*state, "led", Instant::now()).unwrap();
        }
        life
    }

    #[test]
    fn only_legal_changes_can_be_written() {
        let mut legal_ones = 0;
        for from in ALL {
            for to in ALL {
                let mut life = led_to(from);
                let entered = life.enter(to, "tried", Instant::now());
                assert_eq!(entered.is_ok(), legal(from, to), "{from:?} to {to:?}");
                assert_eq!(life.state(), if entered.is_ok() { to } else { from });
                legal_ones += usize::from(entered.is_ok());
            }
        }
        assert_eq!(legal_ones, 11, "as in the design");
    }

    #[test]
    fn nothing_leads_out_of_terminated_but_a_successor() {
        let mut life = led_to(WorkerState::Terminated);
        for to in ALL {
            assert!(life.enter(to, "tried", Instant::now()).is_err());
        }
        life.succeed("v2-0.1".into(), Instant::now());
        assert_eq!(life.state(), WorkerState::Initializing);
        assert_eq!(life.health(), Health::Unknown);
        life.enter(WorkerState::Ready, "it is ready", Instant::now())
            .unwrap();
        let history = life.history();
        let workers: Vec<_> = history
            .iter()
            .map(|change| change.worker.as_str())
            .collect();
        assert_eq!(workers, ["v2-0.0", "v2-0.1"], "the slot remembers both");
    }

    #[test]
    fn the_history_is_bounded_and_has_reasons() {
        let mut life = led_to(WorkerState::Ready);
        for turn in 0..100 {
            let now = Instant::now();
            life.enter(WorkerState::Degraded, &format!("check {turn}"), now)
                .unwrap();
            assert_eq!(life.detail(), Some(format!("check {turn}").as_str()));
            life.enter(WorkerState::Ready, "it answers again", now)
                .unwrap();
            assert_eq!(life.detail(), None);
        }
        let history = life.history();
        assert_eq!(history.len(), KEPT);
        assert_eq!(history.last().unwrap().reason, "it answers again");
        assert!(history[KEPT - 2].reason.contains("check 99"));
    }

    #[test]
    fn work_moves_between_ready_and_busy_only() {
        for state in ALL {
            let mut life = led_to(state);
            life.work(true, Instant::now());
            let expected = match state {
                WorkerState::Ready => WorkerState::Busy,
                other => other,
            };
            assert_eq!(life.state(), expected);
        }
        let mut life = led_to(WorkerState::Busy);
        life.work(false, Instant::now());
        assert_eq!(life.state(), WorkerState::Ready);
    }
}
