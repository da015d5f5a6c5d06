//! What a state wants, and what it lets happen: read off the state, never stored.

use std::time::Duration;

use dspex_flags::Percent;

use super::State;
use crate::gate::Gate;
use crate::lever::{Act, Lever};
use crate::phase::Phase;
use crate::step::Step;
use crate::thresholds::Action;

impl State {
    /// What is to be done now, if anything.
    #[must_use]
    pub fn wants(&self) -> Option<Act> {
        match self.phase {
            Phase::RollingBack if self.lever != Lever::Zero => Some(Act::Zero),
            Phase::RollingBack if self.demotes => Some(Act::Demote),
            Phase::RollingBack => Some(Act::Withdraw),
            Phase::RolledBack | Phase::Stuck | Phase::Decommissioned => None,
            Phase::Complete => {
                let over = !self.rested && self.served >= self.plan.retention.warm;
                over.then_some(Act::Rest)
            }
            _ if self.paused.is_some() => None,
            _ => match (self.lever, self.step) {
                (Lever::Moving { to, from }, _) => Some(Act::Raise { to, from }),
                (_, Some(step)) => Some(Act::Step(step)),
                (_, None) => self.asks().map(|stage| Act::Ask { stage }),
            },
        }
    }

    /// The share of traffic that this migration has asked for.
    #[must_use]
    pub fn percent(&self) -> Percent {
        match self.lever {
            Lever::Moving { to: percent, .. } | Lever::At { percent } => percent,
            Lever::Rest | Lever::Falling | Lever::Zero => Percent::ZERO,
        }
    }

    /// How long this stage must be seen healthy.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        self.stage.map(|stage| self.plan.stage(stage).hold)
    }

    /// Whether this stage was seen healthy for as long as it must be.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold().is_some_and(|hold| self.healthy >= hold)
    }

    /// The gate of this stage, where it is not open.
    #[must_use]
    pub fn closed_gate(&self) -> Option<&Gate> {
        let gate = &self.plan.stage(self.stage?).gate;
        (self.gate.is_none() && !gate.is_automatic()).then_some(gate)
    }

    /// Whether the candidate must be up: past deploy, not rolled back, and not in the old pool's
    /// place with no traffic of its own.
    #[must_use]
    pub fn wants_candidate(&self) -> bool {
        match self.phase {
            Phase::Verify | Phase::Rollout | Phase::Validate | Phase::Complete => true,
            Phase::Decommission => self.step.is_some_and(|step| step <= Step::Settle),
            _ => false,
        }
    }

    /// Whether a rollback changes anything.
    #[must_use]
    pub fn may_roll_back(&self) -> bool {
        match self.phase {
            Phase::RollingBack | Phase::RolledBack | Phase::Decommissioned => false,
            Phase::Decommission => !self.is_promoted(),
            _ => true,
        }
    }

    /// Whether evidence alone may take traffic back: while stable's pool is warm. A cold one takes
    /// its time to wake, so a person weighs that against the candidate's trouble.
    #[must_use]
    pub fn evidence_rolls_back(&self) -> bool {
        self.may_roll_back() && self.is_watched() && !self.rested
    }

    /// What a rule's action comes to here: a rollback from which there is no way back by itself pauses,
    /// and where there is nothing to pause, as once it is complete, it is told and no more.
    #[must_use]
    pub fn comes_of(&self, action: Option<Action>) -> Option<Action> {
        match action? {
            Action::Rollback if self.evidence_rolls_back() => Some(Action::Rollback),
            Action::Rollback | Action::Pause if self.phase == Phase::Complete => None,
            Action::Rollback => Some(Action::Pause),
            other => Some(other),
        }
    }

    /// Whether the candidate is stable for good: there is no way back to a pool that may be gone.
    #[must_use]
    pub fn is_promoted(&self) -> bool {
        match self.phase {
            Phase::Decommissioned => true,
            Phase::Decommission => self.step.is_none_or(|step| step > Step::Promote),
            _ => false,
        }
    }

    /// Whether the candidate has traffic of its own to be looked at.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        match self.phase {
            Phase::Rollout => self.stage.is_some(),
            Phase::Validate | Phase::Complete => true,
            Phase::Decommission => !self.is_promoted(),
            _ => false,
        }
    }

    /// Whether there is anything to pause.
    #[must_use]
    pub fn may_pause(&self) -> bool {
        self.paused.is_none()
            && matches!(
                self.phase,
                Phase::Prepare
                    | Phase::Deploy
                    | Phase::Verify
                    | Phase::Rollout
                    | Phase::Validate
                    | Phase::Decommission
            )
    }

    /// The stage whose gate a webhook is to be asked to open.
    fn asks(&self) -> Option<usize> {
        let webhook = matches!(self.closed_gate(), Some(Gate::Webhook { .. }));
        let at = matches!(self.lever, Lever::At { .. });
        let asks = self.phase == Phase::Rollout && at && webhook && self.is_held() && !self.waived;
        self.stage.filter(|_| asks)
    }
}
