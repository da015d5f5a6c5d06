//! Random lives of the pure controller: whatever is seen, whatever comes of an act, whoever asks for
//! what, in any order; and the laws that each step of a life is held against.
#![allow(unreachable_pub, reason = "a test binary has no users")]

use std::time::Duration;

use dspex_flags::{Percent, Revision};
use dspex_migration::{
    Act, Action, Cause, Check, Command, CommandRow, Decision, Entry, Event, Evidence, FlagsSeen,
    Insisted, Lever, Look, MigrationId, NotRaised, NotZeroed, Observation, Outcome, Phase, Plan,
    Sample, Saved, Scenario, Settings, State, Step, Verdict, decide,
};
use dspex_telemetry::{Blame, HostUsage, LaneWindow};
use jiff::Timestamp;
use proptest::prelude::*;

/// What may happen next.
#[derive(Debug, Clone)]
pub enum Happens {
    Succeeds,
    Fails,
    Looks {
        seconds: u64,
        kind: Kind,
    },
    Asked(Vec<Command>),
    /// A person asks while the evidence comes in.
    AskedAndLooks(Command, Kind),
    Insisted,
    SetByHand(u16),
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Healthy,
    Few,
    Unrecorded,
    Warning,
    PausesOn,
    Critical,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        12 => Just(Kind::Healthy),
        1 => Just(Kind::Few),
        1 => Just(Kind::Unrecorded),
        1 => Just(Kind::Warning),
        1 => Just(Kind::PausesOn),
        1 => Just(Kind::Critical),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => Just(Command::Pause),
        5 => Just(Command::Resume),
        3 => Just(Command::Promote { to_end: false }),
        1 => Just(Command::Promote { to_end: true }),
        1 => Just(Command::Rollback),
    ]
}

pub fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        12 => Just(Happens::Succeeds),
        1 => Just(Happens::Fails),
        20 => (0..30_u64, kinds()).prop_map(|(seconds, kind)| Happens::Looks { seconds, kind }),
        4 => prop::collection::vec(commands(), 1..3).prop_map(Happens::Asked),
        2 => (commands(), kinds()).prop_map(|(command, kind)| Happens::AskedAndLooks(command, kind)),
        1 => Just(Happens::Insisted),
        1 => (0..=10_000_u16).prop_map(Happens::SetByHand),
    ]
}

fn plan() -> Plan {
    // Holds of a few looks, so that random lives get to the end of them.
    let settings = Settings {
        time_scale: 180.0,
        ..Settings::default()
    };
    let mut plan = settings.plan("v1", "v2", None).expect("valid");
    plan.thresholds.cpu.action = Action::Pause;
    plan.interval = Duration::from_secs(5);
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

fn evidence(kind: Kind, percent: Percent) -> Evidence {
    let (calls, faults) = match kind {
        Kind::Few => (3, 3),
        Kind::Warning => (400, 25),
        Kind::Critical => (400, 200),
        _ => (400, 0),
    };
    let cpu = if matches!(kind, Kind::PausesOn) {
        99.0
    } else {
        10.0
    };
    let sample = Sample {
        // As bad as the candidate, so that only the absolute rules speak.
        lanes: [
            lane(400, if matches!(kind, Kind::Warning) { 25 } else { 0 }),
            lane(calls, faults),
        ],
        candidate_pool: Some(crate::house::simulated::pool_status("v2", 0)),
        host: HostUsage {
            cpu_percent: Some(cpu),
            memory_percent: Some(10.0),
            ..HostUsage::default()
        },
        recorded: !matches!(kind, Kind::Unrecorded),
        percent,
        counts: true,
        ..Sample::default()
    };
    Evidence::at_once(&plan(), &sample)
}

/// A life of the controller, with the flags as the world has them.
pub struct Life {
    pub state: State,
    pub entries: Vec<Entry>,
    pub flags: FlagsSeen,
    next_command: u64,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + i64::try_from(seconds).expect("small")).expect("a time")
}

impl Life {
    pub fn new() -> Self {
        let (who, why) = ("ada".to_owned(), "newer".to_owned());
        let state = State::begin(
            MigrationId::from_text("m-1"),
            plan(),
            who.clone(),
            why.clone(),
            at(0),
        );
        let event = Event::Started {
            plan: plan(),
            who,
            why,
        };
        let entries = vec![Entry {
            seq: 1,
            at: at(0),
            event,
        }];
        Self {
            state,
            entries,
            flags: FlagsSeen::default(),
            next_command: 1,
        }
    }

    fn rows(&mut self, commands: &[Command]) -> Vec<CommandRow> {
        let row = |command: &Command| {
            let id = self.next_command;
            self.next_command += 1;
            let (who, why) = ("grace".to_owned(), "because".to_owned());
            CommandRow {
                id,
                command: *command,
                who,
                why,
                at: at(0),
            }
        };
        commands.iter().map(row).collect()
    }

    /// What comes of the act that the state wants; the flags change with it.
    fn outcome(&mut self, well: bool) -> Option<Outcome> {
        let check = |ok| {
            let (name, value, limit) = ("it".to_owned(), "1".to_owned(), "2".to_owned());
            vec![Check {
                name,
                ok,
                value,
                limit,
                hint: None,
            }]
        };
        let no = || "no".to_owned();
        Some(match self.state.wants()? {
            Act::Step(step @ (Step::Backup | Step::Archive)) => {
                let (place, sha256) = ("/backup".to_owned(), "00".to_owned());
                let bytes = 1;
                let saved = Saved {
                    place,
                    bytes,
                    sha256,
                };
                Outcome::Saved(step, if well { Ok(saved) } else { Err(no()) })
            }
            Act::Step(step @ (Step::Deploy | Step::Promote | Step::Settle | Step::Retire)) => {
                Outcome::Done(step, if well { Ok(()) } else { Err(no()) })
            }
            Act::Step(step) => Outcome::Checked(step, check(well)),
            Act::Demote => Outcome::Demoted(if well { Ok(()) } else { Err(no()) }),
            Act::Rest => Outcome::Rested(if well { Ok((1, 0)) } else { Err(no()) }),
            Act::Ask { stage } => Outcome::Asked(stage, Err(no())),
            Act::Raise { to, .. } if well => Outcome::Raised(to, Ok(self.set(true, to))),
            Act::Raise { to, .. } => Outcome::Raised(to, Err(NotRaised::Delayed(no()))),
            Act::Zero if well => Outcome::Zeroed(Ok(self.set(false, Percent::ZERO))),
            Act::Zero => Outcome::Zeroed(Err(NotZeroed {
                written: None,
                reason: no(),
            })),
            Act::Withdraw => Outcome::Withdrawn(if well { Ok((1, 0)) } else { Err(no()) }),
        })
    }

    fn set(&mut self, enabled: bool, percent: Percent) -> Revision {
        let revision = self.flags.revision.next();
        self.flags = FlagsSeen {
            revision,
            enabled,
            percent,
            changed_by: None,
        };
        revision
    }

    fn observe(&mut self, happens: &Happens) -> Observation {
        let mut seen = Observation::default();
        let percent = self.state.percent();
        let look = |kind, seconds| {
            Some(Look {
                evidence: evidence(kind, percent),
                elapsed: Duration::from_secs(seconds),
                calls: (10, 2),
                ..Look::default()
            })
        };
        match happens {
            Happens::Succeeds => seen.outcome = self.outcome(true),
            Happens::Fails => seen.outcome = self.outcome(false),
            Happens::Looks { seconds, kind } => seen.look = look(*kind, *seconds),
            Happens::Asked(commands) => seen.commands = self.rows(commands),
            Happens::AskedAndLooks(command, kind) => {
                seen.commands = self.rows(&[*command]);
                seen.look = look(*kind, 5);
            }
            Happens::Insisted => {
                let cause = Cause::Person {
                    who: "ada".into(),
                    why: "now".into(),
                };
                let scenario = Scenario::Manual;
                seen.insisted = Some(Insisted { cause, scenario });
            }
            Happens::SetByHand(basis_points) => {
                let percent = Percent::from_basis_points(*basis_points).expect("a share");
                self.set(*basis_points % 2 == 0, percent);
            }
        }
        if self.state.phase != Phase::Rollout {
            seen.look = None;
        }
        seen.flags = self.flags.clone();
        seen
    }

    pub fn live(&mut self, second: u64, happens: &Happens) -> Result<(), TestCaseError> {
        let seen = self.observe(happens);
        let decision = decide(&self.state, &seen, at(second));
        prop_assert_eq!(&decision, &decide(&self.state, &seen, at(second)), "pure");
        let before = self.state.clone();
        let mut next = before.clone();
        for event in &decision.events {
            let entry = Entry {
                seq: next.seq + 1,
                at: at(second),
                event: event.clone(),
            };
            next = next.next(&entry);
            self.entries.push(entry);
        }
        self.state = next;
        self.obeys_the_laws(&before, &seen, &decision)
    }

    fn obeys_the_laws(
        &self,
        before: &State,
        seen: &Observation,
        decision: &Decision,
    ) -> Result<(), TestCaseError> {
        let after = &self.state;
        let (from, to) = (before.percent(), after.percent());
        prop_assert_eq!(decision.actions.first().copied(), after.wants());

        // Rollback wins, in every phase but where it is over or under way.
        let asked = seen.insisted.is_some()
            || seen
                .commands
                .iter()
                .any(|row| row.command == Command::Rollback)
            || seen.look.as_ref().is_some_and(evident);
        if asked && before.phase != Phase::RolledBack {
            prop_assert!(
                matches!(after.phase, Phase::RollingBack),
                "{:?}",
                after.phase
            );
            prop_assert_eq!(to, Percent::ZERO);
        }

        // The share follows the plan upwards by what was decided, or goes to 0.
        let raised = to > from;
        if raised {
            prop_assert!(!matches!(
                before.phase,
                Phase::RollingBack | Phase::RolledBack | Phase::Stuck
            ));
            prop_assert!(before.plan.stages.iter().any(|stage| stage.percent == to));
            let by_person = decision.events.iter().any(|event| {
                matches!(
                    event,
                    Event::Commanded {
                        command: Command::Promote { .. },
                        refused: None,
                        ..
                    }
                )
            });
            if !by_person {
                let next = before.stage.map_or(0, |stage| stage + 1);
                prop_assert_eq!(after.stage, Some(next), "one stage at a time");
                if let Some(stage) = before.stage {
                    let verdict = decision.analysis.as_ref().map(|analysis| analysis.verdict);
                    prop_assert_eq!(verdict, Some(Verdict::Healthy));
                    let record = &after.stages[after.stages.len() - 2];
                    prop_assert!(record.healthy >= before.plan.stages[stage].hold);
                    let look = seen.look.as_ref().expect("looked");
                    let enough = before.plan.thresholds.minimum_samples;
                    prop_assert!(look.evidence.candidate.calls >= enough);
                }
            }
        } else if to < from {
            prop_assert_eq!(to, Percent::ZERO);
            prop_assert_eq!(after.phase, Phase::RollingBack);
        }

        // Paused, nothing moves traffic but a rollback.
        if before.paused.is_some() && after.paused.is_some() {
            prop_assert_eq!(from, to);
            prop_assert!(decision.actions.is_empty(), "{:?}", decision.actions);
        }

        // After a rollback began nothing sends traffic there.
        if matches!(
            after.phase,
            Phase::RollingBack | Phase::RolledBack | Phase::Stuck
        ) {
            let sends = |act: &Act| matches!(act, Act::Raise { .. } | Act::Step(_));
            prop_assert!(!decision.actions.iter().any(sends));
            prop_assert_eq!(to, Percent::ZERO);
        }

        // The candidate goes only once 0 % is acknowledged.
        if decision.actions.contains(&Act::Withdraw) {
            prop_assert_eq!(after.lever, Lever::Zero);
        }

        // A stage ages only while it is seen healthy, and by no more than two intervals a look.
        for event in &decision.events {
            if let Event::Ticked {
                credit_ms,
                analysis,
                ..
            } = event
            {
                let credit = Duration::from_millis(*credit_ms);
                let elapsed = seen
                    .look
                    .as_ref()
                    .map_or(Duration::ZERO, |look| look.elapsed);
                prop_assert!(credit <= elapsed.min(before.plan.interval * 2));
                let ages = analysis.verdict == Verdict::Healthy && before.paused.is_none();
                prop_assert!(ages || credit.is_zero());
            }
        }

        // Each command is taken once.
        if let Some(row) = seen.commands.last() {
            prop_assert_eq!(after.last_command, row.id);
        }
        Ok(())
    }
}

fn evident(look: &Look) -> bool {
    look.evidence.candidate.errors_of(Blame::Pool) == 200
}
