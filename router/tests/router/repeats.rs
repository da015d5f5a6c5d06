//! Properties of failover: what is never run twice, and by when everything has ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{PoolError, chunks};
use dspex_router::Execute;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{House, crashed, hung, raised, request};

/// How one attempt goes.
#[derive(Debug, Clone, Copy)]
enum Goes {
    Well,
    Crashes,
    Hangs,
    BreaksTheProtocol,
    Raises,
    FindsNoWorker,
    FindsNoRoom,
    IsRejected,
    TakesTooLong,
}

impl Goes {
    fn ends(self) -> Result<(), PoolError> {
        let why = || "why".to_owned();
        match self {
            Self::Well | Self::TakesTooLong => Ok(()),
            Self::Crashes => Err(crashed()),
            Self::Hangs => Err(hung()),
            Self::BreaksTheProtocol => Err(PoolError::Protocol {
                worker: why(),
                reason: why(),
            }),
            Self::Raises => Err(raised()),
            Self::FindsNoWorker => Err(PoolError::Unavailable { reason: why() }),
            Self::FindsNoRoom => Err(PoolError::Exhausted {
                reason: why(),
                retry_after: Duration::from_secs(1),
            }),
            Self::IsRejected => Err(PoolError::Rejected { message: why() }),
        }
    }

    /// Whether the program may have begun to run.
    fn may_have_run(self) -> bool {
        !matches!(
            self,
            Self::FindsNoWorker | Self::FindsNoRoom | Self::IsRejected
        )
    }
}

fn goes() -> impl Strategy<Value = Goes> {
    prop::sample::select(vec![
        Goes::Well,
        Goes::Crashes,
        Goes::Hangs,
        Goes::BreaksTheProtocol,
        Goes::Raises,
        Goes::FindsNoWorker,
        Goes::FindsNoRoom,
        Goes::IsRejected,
        Goes::TakesTooLong,
    ])
}

/// How often each request may have run.
type Runs = Arc<Mutex<HashMap<String, u32>>>;

/// Attempts on this pool go as the script says, over and over.
fn script(pool: &FakePool, script: &[Goes], runs: &Runs) {
    let (script, turn) = (script.to_vec(), AtomicUsize::new(0));
    let how: Arc<Mutex<HashMap<String, Goes>>> = Arc::default();
    let (drawn, runs) = (how.clone(), runs.clone());
    // The latency is asked first, once for each attempt.
    pool.latency_with(move |call| {
        let goes = script[turn.fetch_add(1, SeqCst) % script.len()];
        let id = call.request_id.to_string();
        drawn.lock().unwrap().insert(id.clone(), goes);
        *runs.lock().unwrap().entry(id).or_default() += u32::from(goes.may_have_run());
        match goes {
            Goes::TakesTooLong => Duration::from_secs(3_600),
            _ => Duration::from_millis(5),
        }
    });
    pool.answer_with(move |call| {
        let goes = how.lock().unwrap()[&*call.request_id];
        goes.ends()
            .map(|()| FakePool::reply(&Value::Object((*call.inputs).clone())))
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever both lanes do: what must not be repeated may have run once at most, what is streamed
    /// has one source, and every call has ended by its deadline.
    #[test]
    fn what_must_not_be_repeated_runs_once_and_all_ends_in_time(
        on_candidate in prop::collection::vec(goes(), 1..12),
        on_stable in prop::collection::vec(goes(), 1..12),
        percent in prop::sample::select(vec!["0%", "50%", "100%"]),
        repeatable: bool,
        streams: bool,
        calls in 1_usize..24,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let house = House::new().await;
            house.percent(percent).await;
            let program = house.program("p", repeatable).await;
            let runs = Runs::default();
            script(&house.candidate, &on_candidate, &runs);
            script(&house.stable, &on_stable, &runs);
            if streams {
                for pool in [&house.candidate, &house.stable] {
                    pool.chunks_with(|_| vec![json!("a part")]);
                }
            }
            for number in 0..calls {
                let id = format!("r-{number}");
                let (sender, reader) = chunks(4);
                let begun = Instant::now();
                let limit = Duration::from_secs(10);
                let ended = house.router.execute(Execute {
                    request_id: id.as_str().into(),
                    timeout: Some(limit),
                    chunks: streams.then_some(sender),
                    ..request(&program, &format!("s-{number}"))
                });
                let ended = ended.await;
                drop(reader);
                let took = begun.elapsed();
                // The grace is for a pool that does not keep its deadline.
                assert!(took <= limit + Duration::from_millis(500), "{took:?}: {ended:?}");
                let ran = runs.lock().unwrap().get(&id).copied().unwrap_or(0);
                let most = if repeatable && !streams { 4 } else { 1 };
                assert!(ran <= most, "{id} may have run {ran} times: {ended:?}");
            }
        });
    }
}
