//! What people ask for, but for a rollback.

use super::texts::{Around, refused};
use super::{Deciding, person};
use crate::analysis::Analysis;
use crate::command::{Command, CommandRow};
use crate::event::Event;
use crate::observation::Observation;
use crate::phase::Phase;

impl Deciding {
    pub(super) fn take(&mut self, row: &CommandRow, refused: Option<String>) {
        self.push(Event::Commanded {
            command_id: row.id,
            command: row.command,
            who: row.who.clone(),
            why: row.why.clone(),
            refused,
        });
    }

    pub(super) fn refused(&self, command: Command, analysis: Option<&Analysis>) -> Option<String> {
        let around = Around {
            analysis,
            frozen: self.frozen.as_ref(),
            flags: &self.flags,
        };
        refused(&self.state, command, &around)
    }

    pub(super) fn other_commands(&mut self, seen: &Observation, analysis: Option<&Analysis>) {
        for row in &seen.commands {
            if row.id <= self.state.last_command {
                continue;
            }
            if let (Command::Decommission, Some(analysis)) = (row.command, analysis) {
                self.count_served(analysis);
            }
            let refused = self.refused(row.command, analysis);
            let obeyed = refused.is_none();
            self.take(row, refused);
            if obeyed {
                self.obey(row);
            }
        }
    }

    fn obey(&mut self, row: &CommandRow) {
        let cause = person(row);
        match row.command {
            Command::Pause => self.push(Event::Paused { cause }),
            Command::Resume => self.push(Event::Resumed { cause }),
            Command::Promote { .. } if self.state.phase == Phase::Validate => {
                self.push(Event::ValidationSkipped { cause });
            }
            Command::Promote { to_end } => {
                let last = self.state.plan.stages.len() - 1;
                let stage = self.state.stage.unwrap_or_default();
                let next = if to_end && stage < last {
                    last
                } else {
                    stage + 1
                };
                self.advance(cause, next, to_end);
            }
            Command::Approve => {
                let stage = self.state.stage.unwrap_or_default();
                self.push(Event::GateOpened { stage, cause });
            }
            Command::Decommission => self.push(Event::DecommissionBegan { cause }),
            // Taken before everything else.
            Command::Rollback => {}
        }
    }
}
