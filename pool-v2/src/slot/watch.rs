//! Watching one worker until it is lost, due to be replaced, or not wanted.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::Liveness;
use tokio::time::Instant;

use super::closer::Closer;
use super::{Keeper, Resident};
use crate::config::Config;
use crate::dispatcher::Summons;
use crate::recovery::{Failure, SlotStarts, WorkerAct, decide};

/// How often a worker is looked at, beside its health checks.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// How long a worker under suspicion has to answer, where its health checks give it longer.
const SUSPECT: Duration = Duration::from_millis(500);

/// Why a worker is not watched any longer.
pub(super) enum End {
    /// It ended, broke the protocol, or answers nobody.
    Lost { why: String },
    /// It is to be replaced once its successor is ready; `hung` where it answers nobody either.
    Due { why: String, hung: bool },
    /// The slot is not wanted any more.
    Dismissed,
}

impl Keeper {
    /// Watches a worker until it must not, or need not, stay.
    pub(super) async fn watch(&self, resident: &mut Resident, starts: &mut SlotStarts) -> End {
        let config = &self.shared.config;
        let dispatcher = &self.shared.dispatcher;
        let bell = dispatcher.bell(self.slot);
        let seated = Arc::clone(&resident.seated);
        let worker = &seated.worker;
        let mut failures = 0;
        let mut closer = Closer::default();
        let mut next_check = Instant::now() + config.health_interval;
        loop {
            let look = Instant::now() + LOOK;
            tokio::select! {
                why = worker.ended() => {
                    resident.lost(&self.shared.starts, starts);
                    return End::Lost { why };
                }
                () = self.dismissed.cancelled() => return End::Dismissed,
                () = bell.notified() => {}
                () = tokio::time::sleep_until(look.min(next_check)) => {}
            }
            resident.settle(&self.shared.starts, starts);
            match dispatcher.summons(self.slot) {
                Some(Summons::Replace(why)) => return End::Due { why, hung: false },
                Some(summons) => closer.called(&summons),
                None => {}
            }
            if closer != Closer::No {
                let found = worker.liveness(suspect_limit(config)).await;
                let for_good = closer.found(found);
                if found == Liveness::Silent {
                    // As many failed checks as condemn, at once: it does not answer, and others may
                    // not either.
                    let in_a_row = if for_good {
                        config.recovery.health_failures
                    } else {
                        1
                    };
                    let silent = self.silent(resident, starts, in_a_row, true).await;
                    if let Some(end) = silent {
                        return end;
                    }
                } else if failures == 0 && closer != Closer::Once {
                    dispatcher.trust(self.slot);
                }
            }
            if worker
                .overstayed()
                .is_some_and(|kept| kept >= config.give_up_after)
            {
                let kept = config.give_up_after;
                let why = format!("it kept a call for {kept:?} after it was given up");
                return End::Due { why, hung: false };
            }
            self.measure(resident).await;
            if Instant::now() < next_check {
                continue;
            }
            let found = tokio::select! {
                why = worker.ended() => {
                    resident.lost(&self.shared.starts, starts);
                    return End::Lost { why };
                }
                found = worker.liveness(config.health_timeout) => found,
            };
            if found != Liveness::Silent {
                next_check = Instant::now() + config.health_interval;
                if found == Liveness::Computes {
                    closer.only_computed();
                }
                dispatcher.trust(self.slot);
                failures = 0;
                continue;
            }
            // While it is out of service it is asked again soon, so that one missed ping does not
            // cost a pool its worker for a whole interval.
            next_check = Instant::now() + config.health_interval.min(SUSPECT);
            failures += 1;
            if let Some(end) = self.silent(resident, starts, failures, false).await {
                return end;
            }
        }
    }

    /// It did not answer, so many times in a row, and maybe no call either: what is done about it, and the
    /// end of the watch where it is to go.
    async fn silent(
        &self,
        resident: &mut Resident,
        starts: &mut SlotStarts,
        in_a_row: u32,
        nor_a_call: bool,
    ) -> Option<End> {
        let dispatcher = &self.shared.dispatcher;
        let failure = Failure::HealthCheck { in_a_row };
        let in_service = dispatcher.in_service(self.slot);
        let act = decide(&self.shared.config.recovery, failure, in_service);
        let nor = if nor_a_call {
            "a call was not answered, nor a ping: "
        } else {
            ""
        };
        let why = format!("{nor}{}", act.reason);
        tracing::warn!(
            pool = %self.shared.name, worker = %resident.seated.worker.name(), why, act = ?act.worker,
            "a worker does not answer"
        );
        match act.worker {
            WorkerAct::Keep => None,
            WorkerAct::Degrade | WorkerAct::LastChoice => {
                dispatcher.doubt(self.slot, act.worker, &why);
                None
            }
            WorkerAct::Replace => Some(self.condemn(resident, starts, &why).await),
            WorkerAct::ReplaceWhenWarm => {
                // Where a call found it silent, another would only share its fate: it is not even the
                // last choice.
                let doubt = if nor_a_call {
                    WorkerAct::Degrade
                } else {
                    act.worker
                };
                dispatcher.doubt(self.slot, doubt, &why);
                Some(End::Due { why, hung: true })
            }
        }
    }

    /// Condemns a worker that is to be replaced anyway, where a call finds it silent.
    pub(super) async fn condemn_the_silent(&self, resident: &Resident) {
        let worker = &resident.seated.worker;
        let suspected = self.shared.dispatcher.summons(self.slot) == Some(Summons::Suspect);
        let silent = || async {
            worker.liveness(suspect_limit(&self.shared.config)).await == Liveness::Silent
        };
        if suspected && silent().await {
            worker.condemn("a call was not answered, nor a ping");
        }
    }

    async fn condemn(&self, resident: &mut Resident, starts: &mut SlotStarts, why: &str) -> End {
        resident.lost(&self.shared.starts, starts);
        let worker = &resident.seated.worker;
        worker.condemn(why);
        End::Lost {
            why: worker.ended().await,
        }
    }
}

fn suspect_limit(config: &Config) -> Duration {
    config.health_timeout.min(SUSPECT)
}
