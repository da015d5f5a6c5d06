//! How a candidate comes and goes, with a source of pools that may break.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dspex_flags::{Flags, MemoryStore};
use dspex_pool::PoolError;
use dspex_pool::testing::FakePool;
use dspex_router::{MemoryCatalog, MemorySessions, RouterConfig, RouterParts};
use dspex_telemetry::{Config, Telemetry};

use super::*;

const LONG: Duration = Duration::from_secs(5);

/// Its first start panics.
#[derive(Default)]
struct Moody {
    calm: AtomicBool,
    starts: AtomicU32,
}

#[async_trait]
impl PoolSource for Moody {
    fn find(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn interpreter(&self, _: &str) -> Result<String, String> {
        Ok("a fake".to_owned())
    }

    async fn start(&self, name: &str) -> Result<SharedPool, PoolError> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        assert!(
            self.calm.swap(true, Ordering::Relaxed),
            "the panic that the test wants"
        );
        Ok(FakePool::new(name).shared())
    }
}

async fn deployer() -> (Deployer, Arc<Moody>) {
    let flags = Flags::open(
        Arc::new(MemoryStore::new()),
        dspex_flags::dspex::declarations(),
    );
    let router = Router::new(RouterParts {
        stable: FakePool::new("v1").shared(),
        flags: flags.await.unwrap(),
        telemetry: Telemetry::new(Config::default()),
        catalog: Arc::new(MemoryCatalog::new()),
        sessions: Arc::new(MemorySessions::new()),
        tracker: TaskTracker::new(),
        config: RouterConfig::default(),
    });
    let pools = Arc::new(Moody::default());
    let source = Arc::clone(&pools) as _;
    let tracker = TaskTracker::new();
    let deployer = Deployer::new(router.unwrap(), source, "v1".to_owned(), tracker);
    (deployer, pools)
}

#[tokio::test]
async fn a_start_that_breaks_off_has_failed_and_can_be_tried_again() {
    let (deployer, _) = deployer().await;
    deployer.bring_up("v2").await.unwrap_err();
    deployer.bring_up("v2").await.unwrap();
    assert!(deployer.router.candidate().is_some());
}

#[tokio::test]
async fn a_start_that_breaks_off_can_be_withdrawn() {
    let (deployer, _) = deployer().await;
    drop(deployer.join_or_begin(|| Some("v2".to_owned())).unwrap());
    deployer.take_down(LONG).await.unwrap();
    deployer.bring_up("v2").await.unwrap();
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_not_begun() {
    let (deployer, pools) = deployer().await;
    deployer.bring_up_if(|| None).await.unwrap();
    assert_eq!(pools.starts.load(Ordering::Relaxed), 0);
    assert!(deployer.router.candidate().is_none());
}
