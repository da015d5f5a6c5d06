//! Journals made by hand.

use std::time::Duration;

use dspex_flags::Revision;
use jiff::Timestamp;

use crate::analysis::{Analysis, LaneSeen, Reason, Verdict};
use crate::candidate::Check;
use crate::cause::Cause;
use crate::command::Command;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::ledger::LedgerChange;
use crate::plan::Plan;
use crate::report::{Report, report};
use crate::settings::Settings;
use crate::step::Step;
use crate::thresholds::Action;

/// Writes a journal, each entry some seconds after the one before.
pub(super) struct Pen {
    pub(super) entries: Vec<Entry>,
    at: Timestamp,
}

pub(super) fn plan() -> Plan {
    let mut settings = Settings::default();
    settings.stages.drain(1..5);
    settings.stages[0].hold = Duration::from_secs(10);
    settings.stages[1].hold = Duration::from_secs(10);
    settings.plan("v1", "v2", None).unwrap()
}

impl Pen {
    pub(super) fn new(who: &str, why: &str) -> Self {
        let mut pen = Self {
            entries: Vec::new(),
            at: "2026-03-01T12:00:00Z".parse().unwrap(),
        };
        pen.write(
            0,
            Event::Started {
                plan: plan(),
                who: who.to_owned(),
                why: why.to_owned(),
            },
        );
        pen
    }

    pub(super) fn write(&mut self, after_s: i64, event: Event) -> &mut Self {
        self.at += jiff::SignedDuration::from_secs(after_s);
        self.entries.push(Entry {
            seq: self.entries.len() as u64 + 1,
            at: self.at,
            event,
        });
        self
    }

    pub(super) fn steps(&mut self) -> &mut Self {
        for step in [Step::Preflight, Step::Backup, Step::Deploy, Step::Verify] {
            let checks = match step {
                Step::Backup | Step::Deploy => Vec::new(),
                _ => vec![check("workers recover from a crash", true)],
            };
            self.write(1, done(step, &checks));
        }
        self
    }

    pub(super) fn stage(&mut self, stage: usize) -> &mut Self {
        let percent = plan().stages[stage].percent;
        self.write(
            0,
            Event::StageEntered {
                stage,
                percent,
                waived: false,
            },
        );
        self.write(
            1,
            Event::TrafficSet {
                percent,
                revision: Revision::new(stage as u64 + 2),
            },
        )
    }

    pub(super) fn look(&mut self, after_s: i64, analysis: Analysis) -> &mut Self {
        let credit_ms = if analysis.verdict == Verdict::Healthy {
            5_000
        } else {
            0
        };
        let calls = (analysis.stable.calls, analysis.candidate.calls);
        self.write(
            after_s,
            Event::Ticked {
                ledger: LedgerChange::default(),
                credit_ms,
                calls_stable: calls.0,
                calls_candidate: calls.1,
                analysis,
            },
        )
    }

    pub(super) fn left(&mut self, stage: usize) -> &mut Self {
        self.write(
            0,
            Event::StageLeft {
                stage,
                cause: controller("seen healthy for 10s"),
                calls_stable: 0,
                calls_candidate: 0,
            },
        )
    }

    pub(super) fn report(&self) -> Report {
        report(&MigrationId::from_text("m-test"), &self.entries).unwrap()
    }
}

pub(super) fn done(step: Step, checks: &[Check]) -> Event {
    let done = serde_json::json!({"type": "step_done", "step": step, "checks": checks});
    serde_json::from_value(done).unwrap()
}

pub(super) fn check(name: &str, ok: bool) -> Check {
    Check {
        name: name.to_owned(),
        ok,
        value: "120 ms".to_owned(),
        limit: "500 ms".to_owned(),
        hint: (!ok).then(|| "give it more workers".to_owned()),
    }
}

pub(super) fn controller(why: &str) -> Cause {
    Cause::Controller {
        why: why.to_owned(),
    }
}

pub(super) fn lane(calls: u64, failed: u64, p50: f64, p99: f64) -> LaneSeen {
    LaneSeen {
        calls,
        failed,
        pool_faults: failed,
        p50_ms: Some(p50),
        p99_ms: Some(p99),
        overhead_p99_ms: Some(8.0),
    }
}

pub(super) fn seen(verdict: Verdict, rule: &'static str, candidate: LaneSeen) -> Analysis {
    let action = match verdict {
        Verdict::Critical => Action::Rollback,
        _ => Action::Log,
    };
    let reasons = match verdict {
        Verdict::Healthy => Vec::new(),
        _ => vec![Reason {
            rule: rule.into(),
            text: format!("{rule} is beyond its limit"),
            verdict,
            action,
            value: Some(0.4),
            limit: Some(0.1),
            needs: None,
            degraded: None,
        }],
    };
    Analysis {
        verdict,
        reasons,
        seconds: 60.0,
        stable: lane(200, 0, 100.0, 200.0),
        candidate,
    }
}

pub(super) fn healthy() -> Analysis {
    seen(Verdict::Healthy, "", lane(100, 0, 90.0, 180.0))
}

pub(super) fn happy() -> Pen {
    let mut pen = Pen::new("ada", "Python 3.13");
    pen.steps();
    for stage in [0, 1] {
        pen.stage(stage);
        pen.look(5, healthy()).look(5, healthy()).left(stage);
    }
    pen.write(0, Event::Completed);
    pen
}

pub(super) fn failed() -> Pen {
    let mut pen = Pen::new("ada", "Python 3.13");
    pen.steps().stage(0);
    let few = seen(
        Verdict::Inconclusive,
        "minimum_samples",
        lane(3, 0, 90.0, 180.0),
    );
    pen.look(5, few);
    pen.look(5, healthy());
    // Nobody looked for three minutes.
    pen.look(180, healthy());
    pen.write(
        1,
        Event::Commanded {
            command_id: 1,
            command: Command::Resume,
            who: "bob".to_owned(),
            why: "asked for on the command line".to_owned(),
            refused: Some("it is not paused".to_owned()),
        },
    );
    let critical = seen(
        Verdict::Critical,
        "critical_error_rate",
        lane(100, 40, 90.0, 180.0),
    );
    pen.look(5, critical);
    pen.write(
        0,
        began("40 % of the candidate's calls failed by the pool's fault"),
    );
    pen.write(
        1,
        Event::TrafficZeroed {
            revision: Revision::new(9),
        },
    );
    pen.write(
        2,
        Event::Withdrawn {
            finished: 3,
            abandoned: 2,
        },
    );
    pen.write(0, Event::RolledBack);
    pen
}

pub(super) fn began(why: &str) -> Event {
    let began = serde_json::json!({"type": "rollback_began", "cause": controller(why)});
    serde_json::from_value(began).unwrap()
}
