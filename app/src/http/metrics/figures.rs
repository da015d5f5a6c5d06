//! The status of a pool and of a migration, and what the router says of calls, as figures for metrics.
//!
//! Invariant: what a kind of pool says in its details is read leniently: a kind that does not say it
//! has no such metric.

use dspex_migration::{Phase, Status, Verdict};
use dspex_pool::{PoolStatus, WorkerState};
use dspex_router::{BudgetHealth, CircuitHealth, RuleHealth, ShadowCounts};
use dspex_telemetry::{
    BudgetFigures, CircuitFigures, CircuitPhase, MigrationFigures, PoolFigures, RescueFigures,
    WorkerFigures,
};

/// Every state, so that one that no worker is in counts 0.
const STATES: [(WorkerState, &str); 6] = [
    (WorkerState::Initializing, "initializing"),
    (WorkerState::Ready, "ready"),
    (WorkerState::Busy, "busy"),
    (WorkerState::Degraded, "degraded"),
    (WorkerState::Terminating, "terminating"),
    (WorkerState::Terminated, "terminated"),
];

/// Every verdict, so that one that was not given counts 0.
const VERDICTS: [Verdict; 4] = [
    Verdict::Healthy,
    Verdict::Warning,
    Verdict::Inconclusive,
    Verdict::Critical,
];

pub(super) fn pool(status: &PoolStatus) -> PoolFigures {
    PoolFigures {
        ready: status.ready as u64,
        size: status.size as u64,
        in_flight: status.in_flight as u64,
        queued: status.queued as u64,
        starts: status.starts,
        failures: status.failures,
    }
}

pub(super) fn workers(status: &PoolStatus) -> WorkerFigures {
    let in_state = |state| {
        let workers = status.workers.iter();
        workers.filter(|worker| worker.state == state).count() as u64
    };
    let memory = status.workers.iter().filter_map(|worker| worker.memory);
    let details = |name: &str, member: &str| status.details.get(name)?.get(member)?.as_u64();
    let affinity = |member| details("affinity", member);
    let switches = status
        .details
        .get("switches")
        .and_then(|all| all.as_object());
    WorkerFigures {
        states: STATES
            .iter()
            .map(|(state, name)| (*name, in_state(*state)))
            .collect(),
        memory: memory.reduce(|sum, bytes| sum + bytes),
        affinity: affinity("hits").zip(affinity("misses")),
        switches: switches
            .into_iter()
            .flatten()
            .filter_map(|(name, on)| Some((name.clone(), on.as_bool()?)))
            .collect(),
    }
}

/// Where a migration is.
pub(super) fn migration(status: &Status) -> MigrationFigures {
    let verdict = status.analysis.as_ref().map(|analysis| analysis.verdict);
    MigrationFigures {
        phases: Phase::ALL
            .map(|phase| (phase.to_string(), phase == status.phase))
            .to_vec(),
        verdicts: VERDICTS
            .map(|each| (each.to_string(), Some(each) == verdict))
            .to_vec(),
        stage: status.stage.map_or(0, |stage| stage as u64 + 1),
        stages: status.stage_count as u64,
        share_percent: status.acknowledged.then(|| status.percent.percent()),
        paused: status.paused.is_some(),
        seen_healthy: status.healthy_for.as_secs_f64(),
        hold: status.hold.unwrap_or_default().as_secs_f64(),
    }
}

/// What became of the calls that were drawn for a copy, each by the name that the API has for it.
pub(super) fn shadow(counts: &ShadowCounts) -> Vec<(String, u64)> {
    let counts = serde_json::to_value(counts).unwrap_or_default();
    let members = counts.as_object().into_iter().flatten();
    members
        .filter_map(|(name, calls)| Some((name.clone(), calls.as_u64()?)))
        .collect()
}

/// Every mode of a circuit, so that those it is not in count 0.
const MODES: [&str; 4] = ["automatic", "forced_open", "metrics_only", "disabled"];

/// A lane's circuit.
pub(super) fn circuit(health: &CircuitHealth) -> CircuitFigures {
    CircuitFigures {
        phase: match health.state {
            "open" => CircuitPhase::Open,
            "half_open" => CircuitPhase::HalfOpen,
            _ => CircuitPhase::Closed,
        },
        mode: health.mode.name(),
        modes: &MODES,
    }
}

/// The calls that one rule sent once more.
pub(super) fn rescue(health: &RuleHealth) -> RescueFigures {
    RescueFigures {
        under_way: health.under_way,
        ended: health.ended().into(),
    }
}

/// What is left to send calls once more.
pub(super) fn budget(health: &BudgetHealth) -> BudgetFigures {
    let draws = health.draws.iter();
    BudgetFigures {
        left: health.left,
        draws: draws
            .map(|one| (one.draw, one.granted, one.refused))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use dspex_pool::WorkerStatus;
    use dspex_router::CircuitMode;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_state_is_counted_and_details_are_read_where_they_are() {
        let worker = |state, memory| WorkerStatus {
            state,
            memory,
            ..WorkerStatus::default()
        };
        let mut status = PoolStatus {
            workers: vec![
                worker(WorkerState::Ready, Some(3)),
                worker(WorkerState::Busy, None),
                worker(WorkerState::Ready, Some(4)),
            ],
            ..PoolStatus::default()
        };
        let found = workers(&status);
        let counts: Vec<_> = found.states.iter().map(|(_, workers)| *workers).collect();
        assert_eq!(counts, [0, 2, 1, 0, 0, 0]);
        for (state, name) in STATES {
            assert_eq!(json!(state), name, "as it is written elsewhere");
        }
        assert_eq!((found.memory, found.affinity), (Some(7), None));
        assert!(found.switches.is_empty());

        let details = json!({"affinity": {"hits": 9, "misses": 1, "hit_rate": 0.9},
            "switches": {"pool_optimizer": false, "enhanced_workers": true, "other": "?"}});
        status.details = details.as_object().unwrap().clone();
        let found = workers(&status);
        assert_eq!(found.affinity, Some((9, 1)));
        assert_eq!(found.switches.len(), 2, "{:?}", found.switches);
    }

    #[test]
    fn every_mode_of_a_circuit_has_its_name() {
        let all = [
            CircuitMode::Automatic,
            CircuitMode::ForcedOpen,
            CircuitMode::MetricsOnly,
            CircuitMode::Disabled,
        ];
        assert_eq!(all.map(CircuitMode::name), MODES);
    }

    #[test]
    fn every_count_of_copies_has_its_name() {
        let counts = ShadowCounts {
            drawn: 7,
            copied: 3,
            budget: 4,
            ..ShadowCounts::default()
        };
        let found = shadow(&counts);
        assert_eq!(found.len(), 16, "{found:?}");
        for (name, calls) in [("drawn", 7), ("copied", 3), ("budget", 4), ("busy", 0)] {
            assert!(found.contains(&(name.to_owned(), calls)), "{name}");
        }
    }
}
