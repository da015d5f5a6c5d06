//! Calls that were sent once more, by rule and by how it ended, and what is left to do so.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const RESCUES: &str = "dspex_rescues_total";
const UNDER_WAY: &str = "dspex_rescues_under_way";
const BUDGET_LEFT: &str = "dspex_retry_budget_left";
const BUDGET_DRAWS: &str = "dspex_retry_budget_draws_total";

/// The calls that one rule sent once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescueFigures {
    /// Calls whose second attempt runs.
    pub under_way: u64,
    /// How many ended how, since the server started; each by its name, such as `recovered`.
    pub ended: Vec<(&'static str, u64)>,
}

/// What is left to send calls once more, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetFigures {
    /// Further attempts that could be made now.
    pub left: u64,
    /// By what was asked for, such as `failover`: how many were granted and how many refused, since
    /// the server started.
    pub draws: Vec<(&'static str, u64, u64)>,
}

pub(super) fn tell(rule: &'static str, figures: &RescueFigures) {
    gauge!(UNDER_WAY, "rule" => rule).set(figures.under_way as f64);
    for (outcome, calls) in &figures.ended {
        counter!(RESCUES, "rule" => rule, "outcome" => *outcome).absolute(*calls);
    }
}

pub(super) fn tell_budget(figures: &BudgetFigures) {
    gauge!(BUDGET_LEFT).set(figures.left as f64);
    for (draw, granted, refused) in &figures.draws {
        for (answer, draws) in [("granted", granted), ("refused", refused)] {
            counter!(BUDGET_DRAWS, "draw" => *draw, "answer" => answer).absolute(*draws);
        }
    }
}

pub(super) fn describe() {
    describe_counter!(
        RESCUES,
        "Calls that a pool failed and that a rule looked at, by rule and by how it ended."
    );
    describe_gauge!(UNDER_WAY, "Calls whose second attempt runs, by rule.");
    describe_gauge!(
        BUDGET_LEFT,
        "Further attempts that the retry budget holds now."
    );
    describe_counter!(
        BUDGET_DRAWS,
        "Further attempts that the retry budget was asked for, and what it answered."
    );
}
