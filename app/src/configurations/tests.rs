//! Versions over restarts, on a real file.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;

use super::*;
use crate::config::Sources;
use crate::paths::DataDir;
use crate::storage::Store;

fn config(set: &[&str]) -> Arc<Config> {
    let set = [
        "lanes.stable=v1",
        "lanes.candidate=v2",
        "pools.v1.kind=pool-v2",
    ]
    .iter()
    .chain(set)
    .map(|setting| (*setting).to_owned())
    .collect();
    let sources = Sources {
        set,
        ..Sources::default()
    };
    Arc::new(Config::load(&sources).unwrap())
}

struct Open {
    configurations: Configurations,
    store: Store,
}

async fn open(folder: &Path, set: &[&str], unfinished: Option<&Plan>) -> Open {
    let store = Store::open(DataDir::new(folder), 2, Duration::from_secs(1)).await;
    let store = store.unwrap();
    let configurations = Configurations::open(
        store.writer.clone(),
        store.reader.clone(),
        config(set),
        unfinished,
    );
    Open {
        configurations: configurations.await.unwrap(),
        store,
    }
}

impl Open {
    fn active(&self) -> String {
        self.configurations.active().unwrap().to_string()
    }

    async fn put(&self, name: &str, section: Value) -> Result<Put, PutError> {
        let section = section.as_object().unwrap().clone();
        self.configurations
            .put(name, section, "ada", "a test")
            .await
    }

    async fn close(self) {
        self.store.close().await;
    }
}

#[tokio::test]
async fn what_is_stable_outlives_restarts_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), &[], None).await;
    assert_eq!(first.active(), "v1@1");
    let put = first.put("v2", json!({"workers": 7})).await.unwrap();
    assert!(put.new);
    let second = put.row.pool.clone();
    assert_eq!(second.to_string(), "v2@2");
    first.configurations.activate(&second).await.unwrap();
    first.configurations.activate(&second).await.unwrap();
    first.close().await;

    let again = open(folder.path(), &[], None).await;
    assert_eq!(again.active(), "v2@2");
    let settings = again.configurations.settings(&second).unwrap();
    let record = settings.record("v2", &config(&[]));
    assert_eq!(record["settings"]["workers"], 7);
    again.close().await;

    // The section of the stable pool's own name is changed: an act of the file.
    let changed = open(folder.path(), &["pools.v2.workers=3"], None).await;
    assert_eq!(changed.active(), "v2@3");
    let active = changed.configurations.versions(Some("v2"));
    assert_eq!(active.iter().filter(|row| row.active).count(), 1);
    assert_eq!(active[0].source, Source::File);
    assert_eq!(
        (active[1].who.as_str(), active[1].why.as_str()),
        ("ada", "a test")
    );
}

#[tokio::test]
async fn a_migration_that_has_not_ended_keeps_its_versions() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &[], None).await.close().await;
    let plan = dspex_migration::Settings::default().plan("v1", "v2", None);
    let plan = plan.unwrap();
    let set = ["pools.v1.workers=3"];
    let held = open(folder.path(), &set, Some(&plan)).await;
    assert_eq!(held.active(), "v1@1");
    assert_eq!(held.configurations.versions(Some("v1")).len(), 1);
    held.close().await;
    let ended = open(folder.path(), &set, None).await;
    assert_eq!(ended.active(), "v1@2");
}

#[tokio::test]
async fn what_says_nothing_new_makes_no_version_and_two_at_once_make_two() {
    let folder = tempfile::tempdir().unwrap();
    let open = open(folder.path(), &[], None).await;
    let (one, two) = tokio::join!(
        open.put("v2", json!({"workers": 7})),
        open.put("v2", json!({"workers": 8}))
    );
    let versions = [one.unwrap().row.pool.version, two.unwrap().row.pool.version];
    assert!(
        versions.contains(&2) && versions.contains(&3),
        "{versions:?}"
    );
    let newest = open.configurations.all_newest();
    let newest = newest.iter().find(|row| row.pool.name == "v2").unwrap();
    let workers = newest.config["settings"]["workers"].clone();
    let same = open.put("v2", json!({"workers": workers})).await.unwrap();
    assert!(!same.new);
    assert_eq!(same.row.pool.version, 3);
}

#[tokio::test]
async fn names_and_versions_that_are_not_there_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = open(folder.path(), &[], None).await;
    let find = |name: &str, version| open.configurations.find(name, version);
    assert_eq!(find("v2", None).unwrap().to_string(), "v2@1");
    assert!(find("v3", None).unwrap_err().contains("did you mean"));
    assert!(find("v2", Some(9)).unwrap_err().contains("newest is 1"));
    for name in ["", "a b", "v2@3", &"x".repeat(65)] {
        let refused = open.put(name, json!({"kind": "pool-v2"})).await;
        assert!(matches!(refused, Err(PutError::Invalid(_))), "{name:?}");
    }
    let unkind = open.put("new", json!({"workers": 1})).await.err().unwrap();
    assert!(unkind.to_string().contains("kind"), "{unkind}");
    let put = open.put("new", json!({"kind": "pool-v2"})).await.unwrap();
    assert_eq!(put.row.pool.clone().to_string(), "new@1");
}

#[tokio::test]
async fn what_is_active_can_be_read_beside_a_server_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let database = DataDir::new(folder.path()).database();
    assert_eq!(active_in(&database).await, None);
    assert!(!database.exists(), "looking makes nothing");
    let open = open(folder.path(), &[], None).await;
    assert_eq!(active_in(&database).await.as_deref(), Some("v1@1"));
    open.close().await;
    assert_eq!(active_in(&database).await.as_deref(), Some("v1@1"));
}

#[tokio::test]
async fn a_version_is_made_active_also_where_who_asked_for_it_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let open = open(folder.path(), &[], None).await;
    let tracker = TaskTracker::new();
    let configurations = open.configurations.writing_on(tracker.clone());
    let v2 = PoolVersion::new("v2", 1);
    assert_ne!(configurations.active().as_ref(), Some(&v2));
    assert!(configurations.activate(&v2).now_or_never().is_none());
    // What the end of a server waits for before it closes the database.
    tracker.close();
    tracker.wait().await;
    let active = sqlx::query_scalar("SELECT name FROM pool_configurations WHERE active = 1");
    let active: String = active.fetch_one(&open.store.reader).await.unwrap();
    assert_eq!(active, "v2");
}
