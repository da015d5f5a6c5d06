//! A small world around the pure controller: a lever, an act under way, and whatever may happen.

use std::time::Duration;

use dspex_flags::{Percent, Revision};
use dspex_migration::{
    Act, Answer, Cause, Check, Command, CommandRow, Decision, Entry, Event, FlagsSeen, Lever, Look,
    MigrationId, NotRaised, NotZeroed, Observation, Outcome, Phase, Saved, State, Step,
};
use jiff::{SignedDuration, Timestamp};

use super::Decide;
use super::small_plan::{INTERVAL, evidence, plan};

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    /// The act under way ends.
    Ends { how: How, frozen: bool },
    /// The controller is killed, after or before its act has done its work.
    Killed { done: bool },
    /// It looks, and perhaps somebody asks for something.
    Looks {
        seen: Seen,
        command: Option<Command>,
        frozen: bool,
    },
    /// Somebody else moves the lever.
    SetByHand(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Well,
    Badly,
    /// Another answer than a failure: no from a webhook, a lever that others have moved.
    Otherwise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Healthy,
    Few,
    Warning,
    PausesOn,
    Critical,
    /// The candidate's pool is not up: stable answers.
    Down,
}

const SEEN: [Seen; 6] = [
    Seen::Healthy,
    Seen::Few,
    Seen::Warning,
    Seen::PausesOn,
    Seen::Critical,
    Seen::Down,
];

const COMMANDS: [Command; 7] = [
    Command::Pause,
    Command::Resume,
    Command::Promote { to_end: false },
    Command::Promote { to_end: true },
    Command::Approve,
    Command::Decommission,
    Command::Rollback,
];

/// What was shown to the controller and what it decided.
#[derive(Debug)]
pub struct Told {
    pub happens: Happens,
    pub observation: Observation,
    pub decision: Decision,
}

#[derive(Debug, Clone)]
pub struct World {
    pub state: State,
    pub lever: Percent,
    pub running: Option<Act>,
}

pub fn percent(basis_points: u16) -> Percent {
    Percent::from_basis_points(basis_points).expect("a share")
}

pub fn controllers(why: &str) -> Cause {
    Cause::Controller { why: why.into() }
}

/// A moment in the freeze, or before it.
pub fn when(frozen: bool) -> Timestamp {
    let at = Timestamp::from_second(1_700_000_000).expect("a time");
    if frozen {
        at + SignedDuration::from_hours(1)
    } else {
        at
    }
}

impl World {
    pub fn new() -> Self {
        let (id, plan) = (MigrationId::from_text("m-1"), plan());
        let state = State::begin(id, plan, "ada".into(), "newer".into(), when(false));
        let running = state.wants();
        Self {
            state,
            lever: Percent::ZERO,
            running,
        }
    }

    /// Everything that a decision or a law depends on.
    pub fn key(&self) -> String {
        let state = &self.state;
        let waits = state.waiting.as_ref().map(std::mem::discriminant);
        let hold = state.hold().unwrap_or_default();
        // Outside its phase, nothing depends on what a stage was like.
        let stage = (state.phase == Phase::Rollout).then(|| {
            (
                state.stage,
                state.waived,
                state.healthy.min(hold),
                state.gate.is_some(),
            )
        });
        let verdict = state.analysis.as_ref().map(|seen| seen.verdict);
        format!(
            "{} {:?} {} {} {stage:?} {waits:?} {:?} {:?} {:?} {} {} {:?} {} | {:?} {:?}",
            state.phase,
            state.step,
            state.step_failures,
            state.paused.is_some(),
            state.lever,
            verdict.filter(|_| state.is_watched()),
            state.served.min(INTERVAL * 2),
            state.rested,
            state.demotes,
            (state.zero_failures.min(5), state.withdraw_failures),
            state.problem.is_some(),
            self.lever,
            self.running,
        )
    }

    pub fn can_happen(&self) -> Vec<Happens> {
        let mut all = Vec::new();
        if self.running.is_some() {
            for how in [How::Well, How::Badly, How::Otherwise] {
                all.extend([false, true].map(|frozen| Happens::Ends { how, frozen }));
            }
            all.extend([false, true].map(|done| Happens::Killed { done }));
        }
        for frozen in [false, true] {
            all.extend(SEEN.map(|seen| Happens::Looks {
                seen,
                command: None,
                frozen,
            }));
            for seen in [Seen::Healthy, Seen::Critical] {
                all.extend(COMMANDS.map(|command| Happens::Looks {
                    seen,
                    command: Some(command),
                    frozen,
                }));
            }
        }
        // Whoever moves the lever after a rollback has taken it to 0 % has the last word.
        let theirs = matches!(self.state.lever, Lever::Zero) || self.state.is_promoted();
        if !theirs {
            all.extend([0, 5_000].map(Happens::SetByHand));
        }
        all
    }

    /// Lets it happen, and has the controller decide.
    pub fn live(&mut self, happens: &Happens, decide: Decide) -> Told {
        let mut observation = Observation::default();
        let mut now = when(false);
        match *happens {
            Happens::Ends { how, frozen } => {
                now = when(frozen);
                observation.outcome = self.end(how);
            }
            Happens::Killed { done } => {
                if done {
                    self.end(How::Well);
                }
                self.running = None;
            }
            Happens::Looks {
                seen,
                command,
                frozen,
            } => {
                now = when(frozen);
                let number = self.state.last_command + 1;
                observation
                    .commands
                    .extend(command.map(|command| asked(number, command)));
                observation.look = self.state.is_watched().then(|| self.look(seen));
            }
            Happens::SetByHand(basis_points) => self.lever = percent(basis_points),
        }
        observation.flags = FlagsSeen {
            revision: Revision::new(self.state.seq + 1),
            enabled: true,
            percent: self.lever,
            changed_by: None,
        };
        let decision = decide(&self.state, &observation, now);
        for event in &decision.events {
            let entry = Entry {
                seq: self.state.seq + 1,
                at: now,
                event: event.clone(),
            };
            self.state = self.state.clone().next(&entry);
        }
        self.begin(&decision);
        Told {
            happens: *happens,
            observation,
            decision,
        }
    }

    /// From here, a rollback that goes well ends at 0 %, with the candidate gone.
    pub fn a_rollback_ends_at_zero(&self, decide: Decide) -> Result<(), String> {
        if self.state.is_promoted() || self.state.phase == Phase::RolledBack {
            return Ok(());
        }
        let mut world = self.clone();
        world.live(
            &Happens::Looks {
                seen: Seen::Few,
                command: Some(Command::Rollback),
                frozen: true,
            },
            decide,
        );
        for _ in 0..5 {
            let ends = Happens::Ends {
                how: How::Well,
                frozen: true,
            };
            world.live(&ends, decide);
        }
        if (world.state.phase, world.lever) == (Phase::RolledBack, Percent::ZERO) {
            return Ok(());
        }
        Err(format!(
            "a rollback that was asked for does not end at 0 %: {} after {}",
            world.key(),
            self.key()
        ))
    }

    /// As the driver does: one act at a time, cut off by a rollback, or dropped where it only asks or
    /// raises traffic.
    fn begin(&mut self, decision: &Decision) {
        let wanted = self.state.wants();
        let idle = |act: &Act| {
            matches!(
                act,
                Act::Ask { .. } | Act::Raise { .. } | Act::Step(Step::Validate)
            )
        };
        if self
            .running
            .is_some_and(|running| idle(&running) && wanted != Some(running))
        {
            self.running = None;
        }
        let next = decision.actions.first().copied();
        if self.running.is_none() || next == Some(Act::Zero) {
            self.running = next.or(self.running);
        }
    }

    fn look(&self, seen: Seen) -> Look {
        let all = self.lever == Percent::HUNDRED && self.state.completed_at.is_some();
        Look {
            evidence: evidence(seen, self.state.percent()),
            elapsed: INTERVAL,
            calls: (10, 2),
            served: if all && !matches!(seen, Seen::Few | Seen::Down) {
                INTERVAL
            } else {
                Duration::ZERO
            },
            ..Look::default()
        }
    }

    /// The act under way ends, and the world changes with it.
    fn end(&mut self, how: How) -> Option<Outcome> {
        let well = how == How::Well;
        let done = || if well { Ok(()) } else { Err("no".to_owned()) };
        let counted = || {
            if well {
                Ok((1, 0))
            } else {
                Err("no".to_owned())
            }
        };
        Some(match self.running.take()? {
            Act::Step(step @ (Step::Backup | Step::Archive)) => {
                let saved = Saved {
                    place: "/saved".into(),
                    bytes: 1,
                    sha256: "00".into(),
                };
                Outcome::Saved(step, if well { Ok(saved) } else { Err("no".into()) })
            }
            Act::Step(step @ (Step::Deploy | Step::Promote | Step::Retire)) => {
                Outcome::Done(step, done())
            }
            Act::Step(Step::Settle) => {
                if well {
                    self.lever = Percent::ZERO;
                }
                Outcome::Done(Step::Settle, done())
            }
            Act::Step(step) => Outcome::Checked(step, vec![check(well)]),
            Act::Raise { to, from } => {
                let drift = from.is_some_and(|from| self.lever != from && self.lever != to);
                let raised = match how {
                    How::Well if !drift => {
                        self.lever = to;
                        Ok(Revision::new(self.state.seq))
                    }
                    How::Badly => Err(NotRaised::Delayed("no".into())),
                    How::Well | How::Otherwise => Err(NotRaised::Drift(FlagsSeen {
                        enabled: true,
                        percent: self.lever,
                        ..FlagsSeen::default()
                    })),
                };
                Outcome::Raised(to, raised)
            }
            Act::Zero => {
                if how != How::Badly {
                    self.lever = Percent::ZERO;
                }
                let not = NotZeroed {
                    written: None,
                    reason: "no".into(),
                };
                Outcome::Zeroed(if well { Ok(Revision::new(1)) } else { Err(not) })
            }
            Act::Demote => Outcome::Demoted(done()),
            Act::Withdraw => Outcome::Withdrawn(counted()),
            Act::Rest => Outcome::Rested(counted()),
            Act::Ask { stage } => {
                let said = |yes| Answer { yes, text: None };
                let answer = match how {
                    How::Well => Ok(said(true)),
                    How::Otherwise => Ok(said(false)),
                    How::Badly => Err("no".into()),
                };
                Outcome::Asked(stage, answer)
            }
        })
    }
}

fn check(ok: bool) -> Check {
    Check {
        name: "it".into(),
        ok,
        value: "1".into(),
        limit: "2".into(),
        hint: None,
    }
}

fn asked(id: u64, command: Command) -> CommandRow {
    CommandRow {
        id,
        command,
        who: "grace".into(),
        why: "because".into(),
        at: when(false),
    }
}

/// Whether the events have one like this.
pub fn any(decision: &Decision, like: impl Fn(&Event) -> bool) -> bool {
    decision.events.iter().any(like)
}
