//! The plan that is explored, and what is seen under it.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_migration::{
    Action, Evidence, Freeze, Gate, Plan, Retention, Sample, Settings, Stage, When,
};
use dspex_telemetry::{Blame, HostUsage, LaneWindow};
use jiff::SignedDuration;

use super::world::{Seen, percent, when};

/// How long between two looks.
pub const INTERVAL: Duration = Duration::from_secs(5);

pub fn plan() -> Plan {
    let stage = |basis_points, gate| Stage {
        percent: percent(basis_points),
        hold: INTERVAL * 2,
        gate,
    };
    let webhook = Gate::Webhook {
        url: "https://gate.example".into(),
    };
    let settings = Settings {
        stages: vec![
            stage(1_000, Gate::Approval),
            stage(5_000, webhook),
            stage(10_000, Gate::Automatic),
        ],
        interval: INTERVAL,
        freezes: vec![Freeze {
            why: "the sale".into(),
            when: When::Once {
                from: when(true) - SignedDuration::from_mins(1),
                until: when(true) + SignedDuration::from_mins(1),
            },
        }],
        retention: Retention {
            warm: INTERVAL,
            decommission_after: INTERVAL * 2,
        },
        ..Settings::default()
    };
    let mut plan = settings.plan("v1", "v2", None).expect("valid");
    plan.thresholds.cpu.action = Action::Pause;
    plan
}

fn lane(calls: u64, pool_faults: u64) -> LaneWindow {
    let mut window = LaneWindow {
        calls,
        seconds: 60.0,
        ..LaneWindow::default()
    };
    if pool_faults > 0 {
        window.errors.insert(Blame::Pool, pool_faults);
    }
    window
}

pub fn healthy(percent: Percent) -> Evidence {
    evidence(Seen::Healthy, percent)
}

pub fn evidence(seen: Seen, percent: Percent) -> Evidence {
    let (calls, faults) = match seen {
        Seen::Few => (3, 3),
        Seen::Warning => (400, 25),
        Seen::Critical => (400, 200),
        Seen::Healthy | Seen::PausesOn => (400, 0),
        Seen::Down => (0, 0),
    };
    let sample = Sample {
        // As bad as the candidate, so that only the absolute rules speak.
        lanes: [
            lane(400, if seen == Seen::Warning { 25 } else { 0 }),
            lane(calls, faults),
        ],
        candidate_pool: (seen != Seen::Down).then(|| crate::house::simulated::pool_status("v2", 0)),
        host: HostUsage {
            cpu_percent: Some(if seen == Seen::PausesOn { 99.0 } else { 10.0 }),
            memory_percent: Some(10.0),
            ..HostUsage::default()
        },
        recorded: true,
        percent,
        counts: true,
        ..Sample::default()
    };
    Evidence::at_once(&plan(), &sample)
}
