//! Binds this process and its workers to cores.

use dspex_pool::Spawner;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Outcome;
use crate::order::Placement;

/// Starts the thread that forks on the workers' core, then binds the calling thread to ours. Every
/// thread and process inherits the core of the thread that starts it.
pub(crate) fn spawner(placement: Option<Placement>) -> Outcome<Spawner> {
    let Some(placement) = placement else {
        return Ok(Spawner::start()?);
    };
    bind(placement.workers)?;
    let spawner = Spawner::start()?;
    bind(placement.client)?;
    Ok(spawner)
}

fn bind(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(format!("core {core} is beyond what the system knows").into());
    }
    cores.set(core);
    sched_setaffinity(None, &cores)
        .map_err(|error| format!("cannot run on core {core}: {error}"))?;
    Ok(())
}
