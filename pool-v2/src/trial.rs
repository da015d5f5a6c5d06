//! Trying the pool: a call to each worker, and a fault done to one.

use std::time::Duration;

use dspex_pool::{Call, Injected, Liveness, PoolError, Probed, Reply, WorkerFault};
use tokio::time::Instant;

use crate::slot::Shared;

/// How soon a worker without room is asked again whether it has some.
const ASK: Duration = Duration::from_millis(10);
/// How long a stopped worker is given to be seen silent. It may use up what it was doing.
const SILENT_WITHIN: Duration = Duration::from_millis(200);
/// How often it is looked at before it is believed to live.
const LOOKS: usize = 5;

/// Sends the call to each worker of the pool's size, one after the other.
pub(crate) async fn probe(shared: &Shared, call: &Call, within: Duration) -> Vec<Probed> {
    let mut probed = Vec::new();
    for (slot, id) in shared.dispatcher.regulars() {
        let call = Call {
            deadline: Instant::now() + within,
            ..call.clone()
        };
        let answer = ask(shared, slot, &call, within).await;
        let worker = match &answer {
            Ok(reply) => reply.worker.to_string(),
            Err(_) => id.to_string(),
        };
        probed.push(Probed { worker, answer });
    }
    probed
}

async fn ask(
    shared: &Shared,
    slot: usize,
    call: &Call,
    within: Duration,
) -> Result<Reply, PoolError> {
    let lease = loop {
        if let Some(lease) = shared.dispatcher.lease_on(slot)? {
            break lease;
        }
        if Instant::now() + ASK >= call.deadline {
            return Err(PoolError::Exhausted {
                reason: format!("it had no room within {within:?}"),
                retry_after: within,
            });
        }
        tokio::time::sleep(ASK).await;
    };
    lease.worker.ran(&call.program.key);
    let (worker, generation) = (&lease.worker.worker, lease.generation);
    let answer = worker.call(call, Box::new(lease.place)).await;
    if let Err(PoolError::Hung { .. }) = &answer {
        shared.dispatcher.suspect(slot, generation);
    }
    answer
}

/// Breaks a worker that has nothing to do.
pub(crate) async fn inject(shared: &Shared, fault: WorkerFault) -> Result<Injected, PoolError> {
    let dispatcher = &shared.dispatcher;
    let isolated = dispatcher.isolate()?;
    let worker = &isolated.worker.worker;
    let injected = Injected {
        fault,
        worker: isolated.id.to_string(),
        pid: worker.pid(),
    };
    tracing::warn!(worker = %isolated.id, %fault, "a fault is done to a worker on purpose");
    // That it has ended, its slot's task sees by itself.
    worker
        .suffer(fault)
        .map_err(|error| PoolError::Unavailable {
            reason: format!("worker {} ended before the fault: {error}", isolated.id),
        })?;
    if fault == WorkerFault::Hang {
        // A caller's call would find it silent. None is spent on that: this ping stands for it.
        for _ in 0..LOOKS {
            if worker.liveness(SILENT_WITHIN).await == Liveness::Silent {
                dispatcher.suspect(isolated.slot, isolated.generation);
                return Ok(injected);
            }
        }
        dispatcher.readmit(&isolated);
        return Err(PoolError::Unavailable {
            reason: format!("worker {} answers although it was stopped", isolated.id),
        });
    }
    Ok(injected)
}
