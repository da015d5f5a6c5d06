//! The flags that pools go by, carried to them while they run.
//!
//! Invariant: a revision is acknowledged after the pools' switches stand as it says, never before.

use dspex_flags::{Snapshot, Subscriber, dspex};
use dspex_pool::Switches;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The name under which the pools acknowledge flags.
pub(crate) const SUBSCRIBER: &str = "pools";

/// As these flags say.
pub(crate) fn of(flags: &Snapshot) -> Switches {
    Switches {
        enhanced_workers: flags.enabled(&dspex::ENHANCED_WORKERS),
        pool_optimizer: flags.enabled(&dspex::POOL_OPTIMIZER),
        circuit_breaker: flags.enabled(&dspex::CIRCUIT_BREAKER),
    }
}

/// Carries every change of the flags on, until `stop` or the flags' end.
pub(crate) async fn follow(
    mut flags: Subscriber,
    tell: watch::Sender<Switches>,
    stop: CancellationToken,
) {
    let carry = |snapshot: &Snapshot, flags: &Subscriber| {
        let now = of(snapshot);
        tell.send_if_modified(|switches| std::mem::replace(switches, now) != now);
        flags.acknowledge(snapshot.revision());
    };
    let first = flags.current();
    carry(&first, &flags);
    while let Some(Some(snapshot)) = stop.run_until_cancelled(flags.changed()).await {
        carry(&snapshot, &flags);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use dspex_flags::{FlagValue, Flags, MemoryStore, Write};
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn an_acknowledged_flag_is_a_switch_that_stands() {
        let store = Arc::new(MemoryStore::new());
        let flags = Flags::open(store, dspex::declarations()).await.unwrap();
        let tell = watch::Sender::new(of(&flags.snapshot()));
        let mut switches = tell.subscribe();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(follow(flags.subscribe(SUBSCRIBER), tell, stop.clone()));
        let before = *switches.borrow_and_update();
        assert!(before.enhanced_workers && before.circuit_breaker && !before.pool_optimizer);
        for (key, on) in [
            ("pool_optimizer", true),
            ("enhanced_workers", false),
            ("circuit_breaker", false),
        ] {
            let write = Write {
                expected: None,
                set: vec![(key.to_owned(), FlagValue::Bool(on))],
                who: "test".to_owned(),
                why: "test".to_owned(),
            };
            let revision = flags.write(write).await.unwrap();
            let within = Duration::from_secs(5);
            flags.wait_acknowledged(revision, within).await.unwrap();
            assert!(switches.has_changed().unwrap(), "{key}");
            let now = *switches.borrow_and_update();
            let stands = match key {
                "pool_optimizer" => now.pool_optimizer,
                "enhanced_workers" => now.enhanced_workers,
                _ => now.circuit_breaker,
            };
            assert_eq!(stands, on, "{key}");
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
