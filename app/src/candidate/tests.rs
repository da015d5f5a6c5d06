//! How a candidate comes and goes, with a source of pools that may break.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dspex_flags::{Flags, MemoryStore};
use dspex_pool::testing::FakePool;
use dspex_pool::{Pool as _, PoolError};
use dspex_router::{MemoryCatalog, MemorySessions, RouterConfig, RouterParts};
use dspex_telemetry::{Config, Telemetry};

use dspex_migration::recording_conformance::look;
use dspex_migration::{
    Leaving, MemoryJournal, MemoryRecorder, MigrationId, Removed, Saved, Succession as _,
};

use super::*;

const LONG: Duration = Duration::from_secs(5);

/// Its first start panics.
#[derive(Default)]
struct Moody {
    calm: AtomicBool,
    /// No start succeeds.
    refuses: AtomicBool,
    starts: AtomicU32,
}

#[async_trait]
impl PoolSource for Moody {
    fn find(&self, name: &str, version: Option<u32>) -> Result<PoolVersion, String> {
        Ok(PoolVersion::new(name, version.unwrap_or(1)))
    }

    async fn interpreter(&self, _: &PoolVersion) -> Result<String, String> {
        Ok("a fake".to_owned())
    }

    async fn start(&self, pool: &PoolVersion) -> Result<SharedPool, PoolError> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        assert!(
            self.calm.swap(true, Ordering::Relaxed),
            "the panic that the test wants"
        );
        if self.refuses.load(Ordering::Relaxed) {
            let reason = "no such interpreter".to_owned();
            return Err(PoolError::Unavailable { reason });
        }
        Ok(FakePool::new(&pool.label()).shared())
    }
}

/// A deployer over files of its own; the folder lives as long as they are used.
struct Stage {
    deployer: Deployer,
    pools: Arc<Moody>,
    recorder: Arc<MemoryRecorder>,
    folder: tempfile::TempDir,
    store: crate::storage::Store,
}

fn v1() -> PoolVersion {
    PoolVersion::new("v1", 1)
}

fn v2() -> PoolVersion {
    PoolVersion::new("v2", 1)
}

async fn stage(calm: bool) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let sources = crate::config::Sources {
        set: vec![
            "lanes.stable=v1".to_owned(),
            "lanes.candidate=v2".to_owned(),
            "pools.v1.kind=pool-v2".to_owned(),
        ],
        ..crate::config::Sources::default()
    };
    let config = Arc::new(crate::config::Config::load(&sources).unwrap());
    let data_dir = DataDir::new(folder.path());
    let store = crate::storage::Store::open(data_dir.clone(), 1, LONG);
    let store = store.await.unwrap();
    let configurations =
        Configurations::open(store.writer.clone(), store.reader.clone(), config, None);
    let flags = Flags::open(
        Arc::new(MemoryStore::new()),
        dspex_flags::dspex::declarations(),
    );
    let flags = flags.await.unwrap();
    let recorder = Arc::new(MemoryRecorder::default());
    let tracker = TaskTracker::new();
    let pools = Arc::new(Moody::default());
    pools.calm.store(calm, Ordering::Relaxed);
    let source = || Arc::clone(&pools) as Arc<dyn PoolSource>;
    let running = FakePool::new("v1").shared();
    let stable = RestingPool::up(v1(), running, source(), tracker.clone());
    let router = Router::new(RouterParts {
        stable: Arc::clone(&stable) as _,
        flags: Arc::clone(&flags),
        telemetry: Telemetry::new(Config::default()),
        catalog: Arc::new(MemoryCatalog::new()),
        sessions: Arc::new(MemorySessions::new()),
        tracker: TaskTracker::new(),
        config: RouterConfig::default(),
    });
    let deployer = Deployer::new(DeployerParts {
        router: router.unwrap(),
        pools: source(),
        configurations: Arc::new(configurations.await.unwrap()),
        flags,
        data_dir,
        ground: Arc::new(ground::Solid),
        telemetry: Telemetry::new(Config::default()),
        prometheus: Prometheus::new().unwrap(),
        recorder: Arc::clone(&recorder) as _,
        stable,
        tracker,
    });
    Stage {
        deployer,
        pools,
        recorder,
        folder,
        store,
    }
}

fn leaving<'a>(migration: &'a MigrationId, plan: &'a Plan) -> Leaving<'a> {
    Leaving {
        migration,
        plan,
        archive: None,
    }
}

fn plan() -> Plan {
    let settings = dspex_migration::Settings::default();
    settings.plan(("v1", 1), ("v2", 1), None).unwrap()
}

#[tokio::test]
async fn a_start_that_breaks_off_has_failed_and_can_be_tried_again() {
    let stage = stage(false).await;
    let deployer = &stage.deployer;
    deployer.bring_up(&v2()).await.unwrap_err();
    deployer.bring_up(&v2()).await.unwrap();
    assert!(deployer.router.candidate().is_some());
}

#[tokio::test]
async fn a_start_that_breaks_off_can_be_withdrawn() {
    let stage = stage(false).await;
    let deployer = &stage.deployer;
    drop(deployer.join_or_begin(|| Ok(Some(v2()))).unwrap());
    deployer.take_down(LONG).await.unwrap();
    deployer.bring_up(&v2()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_not_begun() {
    let stage = stage(false).await;
    let deployer = &stage.deployer;
    deployer.bring_up_if(|| Ok(None)).await.unwrap();
    // Nor what is stable already: a promoted pool is not started twice.
    deployer.bring_up_if(|| Ok(Some(v1()))).await.unwrap();
    assert_eq!(stage.pools.starts.load(Ordering::Relaxed), 0);
    assert!(deployer.router.candidate().is_none());
}

#[tokio::test]
async fn a_promoted_pool_is_nobodys_to_withdraw_and_the_old_one_is_retired() {
    let stage = stage(true).await;
    let (deployer, plan, id) = (&stage.deployer, plan(), MigrationId::from_text("m-2"));
    let early = deployer.promote(&plan).await.unwrap_err();
    assert!(early.contains("not up"), "{early}");
    let early = deployer
        .retire(leaving(&id, &plan), LONG)
        .await
        .unwrap_err();
    assert!(early.contains("not stable"), "{early}");
    deployer.bring_up(&v2()).await.unwrap();
    let old = deployer.stable();
    deployer.promote(&plan).await.unwrap();
    deployer.promote(&plan).await.unwrap();
    assert_eq!(deployer.configurations.active(), Some(v2()));
    assert_eq!(deployer.router.stable().status().name, "v2");
    deployer.take_down(LONG).await.unwrap();
    assert!(!deployer.router.stable().status().draining);
    assert!(
        !old.status().draining,
        "the old pool stays until it is retired"
    );
    deployer.retire(leaving(&id, &plan), LONG).await.unwrap();
    deployer.retire(leaving(&id, &plan), LONG).await.unwrap();
    assert!(old.status().draining);
    assert!(deployer.confirm(&plan).await.iter().all(|check| check.ok));
}

/// An archive with these migrations' looks, as this stage's server would write it.
async fn archive(stage: &Stage, took_part: &[&MigrationId]) -> Saved {
    let sources = crate::config::Sources {
        set: vec![format!("server.data_dir={:?}", stage.folder.path())],
        ..crate::config::Sources::default()
    };
    let config = crate::config::Config::load(&sources).unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let migration = took_part[0].clone();
    let start = dspex_migration::Start {
        plan: &plan(),
        who: "ada",
        why: "a test",
        at: crate::clock::now(),
    };
    dspex_migration::Journal::create(&*journal, &migration, start)
        .await
        .unwrap();
    let subject = crate::backup::Subject {
        pool: v1().to_string(),
        settings: serde_json::Value::Null,
        status: PoolStatus::default(),
        live: crate::backup::Live::default(),
        migration,
        journal,
        took_part: took_part.iter().map(|id| (*id).clone()).collect(),
        recorder: Arc::clone(&stage.recorder) as _,
    };
    let written = crate::backup::archive_pool(&config, "a test", subject);
    let written = written.await.unwrap();
    Saved {
        place: written.path.display().to_string(),
        bytes: written.bytes,
        sha256: written.sha256,
    }
}

#[tokio::test]
async fn what_was_archived_of_earlier_migrations_is_cleaned_away_and_nothing_else() {
    let stage = stage(true).await;
    let (deployer, plan) = (&stage.deployer, plan());
    let ids = ["this", "earlier", "another", "grown"].map(MigrationId::from_text);
    let [this, earlier, another, grown] = &ids;
    let count = async |id: &MigrationId| stage.recorder.looks(id, 0, 100).await.unwrap().len();
    for id in &ids {
        (1..=3).for_each(|seq| stage.recorder.record(look(id, seq)));
    }
    deployer.bring_up(&v2()).await.unwrap();
    deployer.promote(&plan).await.unwrap();
    let saved = archive(&stage, &[this, earlier, grown]).await;
    stage.recorder.record(look(grown, 4));
    let leaving = Leaving {
        archive: Some(&saved),
        ..leaving(this, &plan)
    };
    // An archive that was touched proves nothing: all stays, and the operator is told.
    let whole = std::fs::read(&saved.place).unwrap();
    std::fs::write(&saved.place, &whole[..whole.len() - 1]).unwrap();
    let error = deployer.retire(leaving, LONG).await.unwrap_err();
    assert!(error.contains("no recorded look is removed"), "{error}");
    assert_eq!(count(earlier).await, 3);
    std::fs::write(&saved.place, &whole).unwrap();
    // Nor one that somebody has taken away; but it keeps nobody.
    let moved = stage.folder.path().join("elsewhere");
    std::fs::rename(&saved.place, &moved).unwrap();
    let removed = deployer.retire(leaving, LONG).await.unwrap();
    assert!(removed.unproven && removed.looks == 0, "{removed}");
    assert_eq!(count(earlier).await, 3);
    std::fs::rename(&moved, &saved.place).unwrap();
    let removed = deployer.retire(leaving, LONG).await.unwrap();
    assert_eq!(
        removed,
        Removed {
            looks: 3,
            files: 0,
            ..Removed::default()
        }
    );
    assert_eq!(count(earlier).await, 0);
    for (id, left) in [(this, 3), (another, 3), (grown, 4)] {
        assert_eq!(count(id).await, left, "{id}");
    }
    let again = deployer.retire(leaving, LONG).await.unwrap();
    assert!(again.is_nothing());
}

#[tokio::test]
async fn a_promotion_is_taken_back_also_where_nobody_knows_whether_it_was_done() {
    let stage = stage(true).await;
    let (deployer, plan) = (&stage.deployer, plan());
    deployer.bring_up(&v2()).await.unwrap();
    // Not done: nothing changes.
    deployer.demote(&plan).await.unwrap();
    assert_eq!(deployer.stable().version(), &v1());
    deployer.promote(&plan).await.unwrap();
    deployer.demote(&plan).await.unwrap();
    assert_eq!(deployer.configurations.active(), Some(v1()));
    assert_eq!(deployer.router.stable().status().name, "v1");
    assert_eq!(deployer.candidate_version(), Some(v2()));
    deployer.take_down(LONG).await.unwrap();
    assert!(deployer.router.candidate().is_none());
    assert!(!deployer.router.stable().status().draining);
    // Only the row was moved, and the router was not: as after a crash.
    deployer.bring_up(&v2()).await.unwrap();
    deployer.configurations.activate(&v2()).await.unwrap();
    deployer.demote(&plan).await.unwrap();
    assert_eq!(deployer.configurations.active(), Some(v1()));
}

#[tokio::test]
async fn confirmation_measures_traffic_the_candidate_and_the_place() {
    let stage = stage(true).await;
    let (deployer, plan) = (&stage.deployer, plan());
    let failed = |checks: Vec<Check>| -> Vec<String> {
        let failed = checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| check.name).collect()
    };
    assert_eq!(
        failed(deployer.confirm(&plan).await),
        ["all traffic goes to the candidate", "the candidate is up"]
    );
    deployer.bring_up(&v2()).await.unwrap();
    let archives = deployer.data_dir.archives();
    std::fs::remove_dir(&archives).unwrap();
    std::fs::write(&archives, "a file where the folder should be").unwrap();
    assert_eq!(
        failed(deployer.confirm(&plan).await),
        [
            "all traffic goes to the candidate",
            "the archive can be written"
        ]
    );
}

#[tokio::test]
async fn what_the_database_does_not_take_is_not_promoted() {
    let stage = stage(true).await;
    let (deployer, plan) = (&stage.deployer, plan());
    deployer.bring_up(&v2()).await.unwrap();
    stage.store.close().await;
    deployer.promote(&plan).await.unwrap_err();
    assert_eq!(deployer.router.stable().status().name, "v1");
    assert_eq!(deployer.candidate_version(), Some(v2()));
}

#[tokio::test]
async fn the_old_pool_rests_only_where_it_is_stable() {
    let stage = stage(true).await;
    let (deployer, plan) = (&stage.deployer, plan());
    deployer.rest(&plan, LONG).await.unwrap();
    assert!(deployer.stable().rests());
    deployer.bring_up(&v2()).await.unwrap();
    deployer.promote(&plan).await.unwrap();
    deployer.rest(&plan, LONG).await.unwrap_err();
    assert!(!deployer.stable().rests());
}

#[tokio::test]
async fn the_only_pool_that_can_serve_is_not_withdrawn() {
    let stage = stage(true).await;
    let deployer = &stage.deployer;
    deployer.bring_up(&v2()).await.unwrap();
    deployer.rest(&plan(), LONG).await.unwrap();
    stage.pools.refuses.store(true, Ordering::Relaxed);
    deployer.wake_stable();
    let soon = Duration::from_millis(300);
    let held = tokio::time::timeout(soon, deployer.withdraw(LONG)).await;
    held.expect_err("it waits for stable");
    let why = deployer.stable_is_ready(soon).await.unwrap_err();
    assert!(
        why.contains("v1") && why.contains("no such interpreter"),
        "{why}"
    );
    let candidate = deployer.router.candidate().expect("it stays");
    assert!(candidate.status().ready > 0 && !candidate.status().draining);

    stage.pools.refuses.store(false, Ordering::Relaxed);
    deployer.withdraw(LONG).await.unwrap();
    assert!(deployer.stable().status().ready > 0);
    assert!(deployer.router.candidate().is_none());
}

#[tokio::test]
async fn a_candidate_that_serves_nobody_is_withdrawn_whatever_stable_does() {
    let stage = stage(true).await;
    let deployer = &stage.deployer;
    deployer.bring_up(&v2()).await.unwrap();
    deployer.rest(&plan(), LONG).await.unwrap();
    stage.pools.refuses.store(true, Ordering::Relaxed);
    deployer.router.candidate().unwrap().drain(LONG).await;
    deployer.withdraw(LONG).await.unwrap();
    assert!(deployer.router.candidate().is_none());
}
