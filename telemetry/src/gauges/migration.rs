//! Where the newest migration is. Before the first there are none of these.

use metrics::{Unit, describe_gauge, gauge};

const PHASE: &str = "dspex_migration_phase";
const VERDICT: &str = "dspex_migration_verdict";
const STAGE: &str = "dspex_migration_stage";
const STAGES: &str = "dspex_migration_stages";
const SHARE: &str = "dspex_migration_share_percent";
const PAUSED: &str = "dspex_migration_paused";
const SEEN_HEALTHY: &str = "dspex_migration_seen_healthy_seconds";
const HOLD: &str = "dspex_migration_hold_seconds";

/// Where a migration is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MigrationFigures {
    /// Every phase that there is, and whether it is in that one.
    pub phases: Vec<(String, bool)>,
    /// Every verdict that there is, and whether it is the last look's; none is before the first look.
    pub verdicts: Vec<(String, bool)>,
    /// The stage it is in, from 1; 0 before the first.
    pub stage: u64,
    /// How many stages there are.
    pub stages: u64,
    /// The share of traffic, 0 to 100, that every router serves. [`None`] while routers are told of
    /// another: the gauge then stays as it was.
    pub share_percent: Option<f64>,
    /// Whether it is paused.
    pub paused: bool,
    /// Healthy time seen in the stage, in seconds.
    pub seen_healthy: f64,
    /// How much of it is asked for, in seconds; 0 where nothing is.
    pub hold: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a handful of stages")]
pub(super) fn tell(figures: &MigrationFigures) {
    let one = |is| if is { 1.0 } else { 0.0 };
    for (phase, is) in &figures.phases {
        gauge!(PHASE, "phase" => phase.clone()).set(one(*is));
    }
    for (verdict, is) in &figures.verdicts {
        gauge!(VERDICT, "verdict" => verdict.clone()).set(one(*is));
    }
    gauge!(STAGE).set(figures.stage as f64);
    gauge!(STAGES).set(figures.stages as f64);
    if let Some(percent) = figures.share_percent {
        gauge!(SHARE).set(percent);
    }
    gauge!(PAUSED).set(one(figures.paused));
    gauge!(SEEN_HEALTHY).set(figures.seen_healthy);
    gauge!(HOLD).set(figures.hold);
}

pub(super) fn describe() {
    describe_gauge!(
        PHASE,
        "1 for the phase that the newest migration is in, 0 for the others."
    );
    describe_gauge!(
        VERDICT,
        "1 for the verdict of the last look at the candidate, 0 for the others."
    );
    describe_gauge!(
        STAGE,
        "The stage that the newest migration is in, from 1; 0 before the first."
    );
    describe_gauge!(STAGES, "The stages of the newest migration.");
    describe_gauge!(
        SHARE,
        Unit::Percent,
        "Share of traffic that the newest migration has moved, and every router serves."
    );
    describe_gauge!(PAUSED, "1 while the newest migration is paused.");
    describe_gauge!(
        SEEN_HEALTHY,
        Unit::Seconds,
        "Healthy time seen in the stage that the newest migration is in."
    );
    describe_gauge!(
        HOLD,
        Unit::Seconds,
        "Healthy time that this stage asks for; 0 where it asks for none."
    );
}
