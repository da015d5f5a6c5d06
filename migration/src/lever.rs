//! Where the lever is, and what is to be done next: both read off the state.

use dspex_flags::Percent;

use crate::step::Step;

/// Where this migration has the lever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lever {
    /// Untouched: no traffic goes to the candidate.
    Rest,
    /// To be moved, or moved and not yet acknowledged.
    Moving {
        /// Where to.
        to: Percent,
        /// Where the lever must still be for us to move it. `None` on a person's word, who has
        /// seen where it is.
        from: Option<Percent>,
    },
    /// Acknowledged by every router.
    At {
        /// The share.
        percent: Percent,
    },
    /// To be taken to 0 %.
    Falling,
    /// Taken to 0 % and acknowledged by every router.
    Zero,
}

impl Lever {
    /// Whether not every router is known to serve what was asked for.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Moving { .. } | Self::Falling)
    }
}

/// What is to be done now. Every action may be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Take a step.
    Step(Step),
    /// Move the lever up to a stage's share, and have it acknowledged.
    Raise {
        /// Where to.
        to: Percent,
        /// Where the lever must still be; `None` for wherever it is.
        from: Option<Percent>,
    },
    /// Take traffic to 0 %, wherever it is, and have it acknowledged.
    Zero,
    /// Make sure that the old pool is stable, where a promotion may have been under way.
    Demote,
    /// Drain the candidate and take it away.
    Withdraw,
    /// Ask a webhook whether the stage may be left.
    Ask {
        /// Which stage, from 0.
        stage: usize,
    },
    /// Make the old pool cold.
    Rest,
}

impl Act {
    /// Whether it is dropped once nobody wants it any more: it only asks or looks, or it raises traffic,
    /// which a pause forbids. A write that is on its way may still arrive; it is what the state says.
    pub(crate) fn may_be_dropped(self) -> bool {
        matches!(
            self,
            Self::Ask { .. } | Self::Raise { .. } | Self::Step(Step::Validate)
        )
    }
}
