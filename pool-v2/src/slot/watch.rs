//! Watching one worker until it is lost, due to be replaced, or not wanted.

use std::time::Duration;

use tokio::time::Instant;

use super::{Keeper, Resident};

/// How often a worker is looked at, beside its health checks.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// How long a worker under suspicion has to answer, where its health checks give it longer.
const SUSPECT: Duration = Duration::from_millis(500);

/// Why a worker is not watched any longer.
pub(super) enum End {
    /// It ended, broke the protocol, or answers nobody.
    Lost { why: String, failed: bool },
    /// It is well, and is to be replaced.
    Due { why: String },
    /// The slot is not wanted any more.
    Dismissed,
}

impl Keeper {
    /// Watches a worker until it must not, or need not, stay.
    pub(super) async fn watch(&self, resident: &mut Resident) -> End {
        let config = &self.shared.config;
        let dispatcher = &self.shared.dispatcher;
        let suspicion = dispatcher.suspicion(self.slot);
        let seated = std::sync::Arc::clone(&resident.seated);
        let worker = &seated.worker;
        let mut failures = 0;
        let mut next_check = Instant::now() + config.health_interval;
        loop {
            let look = Instant::now() + LOOK;
            let suspected = tokio::select! {
                why = worker.ended() => return self.ended(resident, why),
                () = self.dismissed.cancelled() => return End::Dismissed,
                () = suspicion.notified() => true,
                () = tokio::time::sleep_until(look.min(next_check)) => false,
            };
            resident.probation.lives(worker.answered(), Instant::now());
            if suspected {
                let limit = config.health_timeout.min(SUSPECT);
                if !worker.is_alive(limit).await {
                    let why = format!("a call was not answered, nor a ping for {limit:?}");
                    return self.hung(resident, &why).await;
                }
                if failures == 0 {
                    dispatcher.doubt(self.slot, None, 0);
                }
            }
            if worker
                .overstayed()
                .is_some_and(|kept| kept >= config.give_up_after)
            {
                let kept = config.give_up_after;
                let why = format!("it kept a call for {kept:?} after it was given up");
                return End::Due { why };
            }
            if let Some(why) = self.due(resident).await {
                return End::Due { why };
            }
            if Instant::now() < next_check {
                continue;
            }
            let well = tokio::select! {
                why = worker.ended() => return self.ended(resident, why),
                well = worker.is_alive(config.health_timeout) => well,
            };
            if well {
                next_check = Instant::now() + config.health_interval;
                dispatcher.doubt(self.slot, None, 0);
                failures = 0;
                continue;
            }
            // While it is out of service it is asked again soon, so that one missed ping does not
            // cost a pool its worker for a whole interval.
            next_check = Instant::now() + config.health_interval.min(SUSPECT);
            failures += 1;
            let why = format!("{failures} health checks in a row without an answer");
            if failures >= config.health_failures {
                return self.hung(resident, &why).await;
            }
            tracing::warn!(pool = %self.shared.name, worker = %worker.name(), why, "a worker is degraded");
            dispatcher.doubt(self.slot, Some(&why), self.shared.keep_ready());
        }
    }

    fn ended(&self, resident: &mut Resident, why: String) -> End {
        resident.probation.failed(Instant::now());
        End::Lost { why, failed: true }
    }

    async fn hung(&self, resident: &mut Resident, why: &str) -> End {
        resident.probation.failed(Instant::now());
        let worker = &resident.seated.worker;
        worker.condemn(why);
        End::Lost {
            why: worker.ended().await,
            failed: true,
        }
    }
}
