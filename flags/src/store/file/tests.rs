//! What a file adds to the battery: it lasts, others write to it, and it may be broken.

use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::testing::conformance;
use crate::value::FlagValue;
use crate::{Flags, dspex};

async fn open(folder: &TempDir) -> Result<FileStore, FlagError> {
    FileStore::open(folder.path().join("flags.json")).await
}

fn write(key: &str, value: impl Into<FlagValue>) -> Write {
    Write {
        expected: None,
        set: vec![(key.to_owned(), value.into())],
        who: "test".to_owned(),
        why: "test".to_owned(),
    }
}

#[tokio::test]
async fn passes_the_battery() {
    let folder = TempDir::new().unwrap();
    let stores = AtomicU32::new(0);
    conformance(|| {
        let number = stores.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.json"));
        async move { Arc::new(FileStore::open(path).await.unwrap()) as Arc<dyn FlagStore> }
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_store_goes_on_where_that_one_was() {
    let folder = TempDir::new().unwrap();
    let other = crate::MemoryStore::new();
    for (key, value) in [
        ("on", FlagValue::from(true)),
        ("number", FlagValue::from(5)),
        ("on", FlagValue::from(false)),
    ] {
        let write = write(key, value);
        other.write(&write, crate::clock::now()).await.unwrap();
    }
    let copy = FileStore::copy_of(&other).await.unwrap();
    std::fs::write(folder.path().join("flags.json"), copy).unwrap();
    let store = open(&folder).await.unwrap();
    assert_eq!(store.load().await.unwrap(), other.load().await.unwrap());
    let history = store.history(10).await.unwrap();
    assert_eq!(history, other.history(10).await.unwrap());
    assert_eq!(history.len(), 3);
    let next = store.write(&write("on", true), crate::clock::now()).await;
    assert_eq!(next.unwrap(), Revision::new(4));
}

/// Each has a handle of its own, as two processes would: the lock is all they share.
#[tokio::test]
async fn two_writers_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (open(&folder).await.unwrap(), open(&folder).await.unwrap());
    let both = async |store: &FileStore| {
        for number in 0..20 {
            let write = write("number", number);
            store.write(&write, crate::clock::now()).await.unwrap();
        }
    };
    tokio::join!(both(&one), both(&other));
    assert_eq!(one.revision().await.unwrap(), Revision::new(40));
    let history = other.history(usize::MAX).await.unwrap();
    assert_eq!(history.len(), 40);
    for pair in history.windows(2) {
        assert_eq!(pair[0].before.as_ref(), Some(&pair[1].after));
    }
}

#[tokio::test]
async fn another_process_s_write_is_seen_long_before_the_poll() {
    let folder = TempDir::new().unwrap();
    let ours = Arc::new(open(&folder).await.unwrap());
    let theirs = open(&folder).await.unwrap();
    let flags = Flags::open(ours, dspex::declarations()).await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(flags.clone().run(Duration::from_secs(3_600), stop.clone()));
    let mut subscriber = flags.subscribe("router");
    subscriber.current();
    let on = write("pool_v2_enabled", true);
    theirs.write(&on, crate::clock::now()).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(60), subscriber.changed());
    assert!(
        seen.await
            .unwrap()
            .unwrap()
            .enabled(&dspex::POOL_V2_ENABLED)
    );
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn a_broken_file_is_refused_named_and_left_alone_while_the_last_flags_serve() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flags.json");
    let store = Arc::new(open(&folder).await.unwrap());
    let flags = Flags::open(store, dspex::declarations()).await.unwrap();
    let on = || write("pool_v2_enabled", true);
    flags.write(on()).await.unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let newer = whole.replace("\"format\": 1", "\"format\": 2, \"more\": []");
    for (text, says) in [
        (
            &whole[..whole.len() / 2],
            "restore it from a backup, or move it away",
        ),
        ("", "restore it from a backup, or move it away"),
        ("dear diary", "restore it from a backup, or move it away"),
        (&newer, "schema version 2, and this program knows up to 1"),
        (
            &whole.replace("bool", "colour"),
            "no flags of kind `colour`",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = flags.refresh().await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("set the flag again") || text.contains("colour"));
        assert_eq!(flags.store_error().unwrap().to_string(), error);
        assert!(flags.snapshot().enabled(&dspex::POOL_V2_ENABLED));
        if !text.contains("colour") {
            assert!(flags.write(on()).await.is_err());
            let refused = open(&folder).await.unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
    std::fs::remove_file(&path).unwrap();
    let error = flags.refresh().await.unwrap_err();
    assert!(matches!(*error, FlagError::WentBack { .. }), "{error}");
    // As the message says: moved away, a start begins with none.
    let begun = open(&folder).await.unwrap();
    assert_eq!(begun.revision().await.unwrap(), Revision::ZERO);
    assert!(flags.snapshot().enabled(&dspex::POOL_V2_ENABLED));
    std::fs::write(&path, &whole).unwrap();
    flags.refresh().await.unwrap();
    assert!(flags.store_error().is_none());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nowhere").join("flags.json");
    let error = FileStore::open(&path).await.unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

/// A new revision is what tells the watch that there is something new: an edit has none.
#[tokio::test]
async fn an_edit_by_hand_is_told_and_neither_served_nor_taken_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flags.json");
    let store = Arc::new(open(&folder).await.unwrap());
    let flags = Flags::open(store, dspex::declarations()).await.unwrap();
    flags.write(write("pool_v2_enabled", true)).await.unwrap();
    flags.write(write("telemetry_v2", false)).await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let edited = |edit: fn(&mut serde_json::Value)| {
        let mut text = whole.clone();
        edit(&mut text);
        std::fs::write(&path, text.to_string()).unwrap();
    };
    edited(|_| {});
    flags.refresh().await.unwrap();

    edited(|text| text["flags"]["pool_v2_enabled"]["value"] = false.into());
    tasks.spawn(flags.clone().run(Duration::from_millis(20), stop.clone()));
    let told = async {
        loop {
            match flags.store_error() {
                Some(error) => return error.to_string(),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), told);
    let error = error.await.expect("the watch tells it");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert_eq!(
        error,
        "the flag store holds `false` for `pool_v2_enabled`, and its history says `true`, set in \
         revision 1 by test: it was changed by hand, so nobody knows who and why; put it back, and set \
         the flag with a who and a why"
    );
    assert!(
        flags.snapshot().enabled(&dspex::POOL_V2_ENABLED),
        "the last good"
    );
    let refused = flags.write(write("telemetry_v2", true)).await.unwrap_err();
    assert_eq!(refused.to_string(), error, "nor is it written over");
    assert_eq!(open(&folder).await.unwrap_err().to_string(), error);

    type Edit = fn(&mut serde_json::Value);
    let edits: [(Edit, &str); 4] = [
        (
            |text| text["flags"]["telemetry_v2"]["revision"] = 1.into(),
            "`telemetry_v2`, and its history says `false`, set in revision 2",
        ),
        (
            |text| {
                let setting = text["flags"]["telemetry_v2"].clone();
                text["flags"]["pool_optimizer"] = setting;
            },
            "`pool_optimizer`, and its history says nothing",
        ),
        (
            |text| {
                text["flags"]
                    .as_object_mut()
                    .unwrap()
                    .remove("telemetry_v2");
            },
            "holds nothing for `telemetry_v2`, and its history says `false`",
        ),
        (
            |text| text["revision"] = 9.into(),
            "holds `9` for `revision`, and its history says `2`",
        ),
    ];
    for (edit, says) in edits {
        edited(edit);
        let told = flags.refresh().await.unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
    edited(|_| {});
    flags.refresh().await.unwrap();
    assert!(flags.store_error().is_none());
}
