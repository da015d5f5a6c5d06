//! What must hold of the way back to an older revision.

use super::*;
use crate::dspex;
use crate::flag::Flag;
use crate::layers::Layer;
use crate::percent::Percent;
use crate::rules::{Rules, rules_key};
use crate::store::MemoryStore;

const SWITCH: Flag<bool> = Flag {
    key: "switch",
    default: false,
    description: "a switch",
    owner: "tests",
};
const SHARE: Flag<Percent> = Flag {
    key: "share",
    default: Percent::ZERO,
    description: "a share",
    owner: "tests",
};
const LIMIT: Flag<f64> = Flag {
    key: "limit",
    default: 2.5,
    description: "a number",
    owner: "tests",
};

async fn open() -> Arc<Flags> {
    let declarations = vec![
        SWITCH.declaration(),
        SHARE.declaration(),
        LIMIT.declaration(),
    ];
    Flags::open(Arc::new(MemoryStore::new()), declarations)
        .await
        .unwrap()
}

fn write(key: &str, value: impl Into<FlagValue>) -> Write {
    Write {
        expected: None,
        set: vec![(key.to_owned(), value.into())],
        who: "ada".to_owned(),
        why: "a test".to_owned(),
    }
}

async fn set(flags: &Flags, key: &str, value: impl Into<FlagValue>) -> Result<Revision, FlagError> {
    flags.write(write(key, value)).await
}

fn half() -> Percent {
    Percent::from_percent(50.0).unwrap()
}

#[tokio::test]
async fn a_revert_sets_back_what_was_set_since_and_unsets_what_was_not_set_before() {
    let flags = open().await;
    let first = set(&flags, "limit", 3).await.unwrap();
    set(&flags, "limit", 4).await.unwrap();
    set(&flags, "share", half()).await.unwrap();
    let killed = Rules {
        killed: true,
        ..Rules::default()
    };
    set(&flags, &rules_key("switch"), killed).await.unwrap();
    let reverted = flags.revert(first, "ada", "it was better").await.unwrap();
    assert_eq!(reverted, Revision::new(5), "a revert is a new revision");
    let snapshot = flags.snapshot();
    assert!((snapshot.value(&LIMIT) - 3.0).abs() < f64::EPSILON);
    assert_eq!(
        snapshot.explain("share", None).unwrap().layer,
        Layer::Compiled
    );
    assert_eq!(snapshot.rules("switch").unwrap(), None);
    let newest = flags.history(1).await.unwrap().remove(0);
    assert_eq!(
        (newest.who.as_str(), newest.why.as_str()),
        ("ada", "it was better")
    );
    for (to, says) in [
        (first, "differs from revision 1"),
        (Revision::new(9), "has not been"),
    ] {
        let error = flags.revert(to, "ada", "again").await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    // Forward again: a revert can be reverted.
    flags.revert(Revision::new(4), "ada", "no").await.unwrap();
    assert_eq!(flags.snapshot().percent(&SHARE), half());
    assert!(flags.snapshot().rules("switch").unwrap().unwrap().killed);
}

/// A store keeps the flags of other versions of the program, and so does its history.
#[tokio::test]
async fn a_revert_leaves_alone_what_this_program_does_not_know() {
    let flags = open().await;
    let first = set(&flags, "switch", true).await.unwrap();
    let theirs = async |key: &str, value: FlagValue| {
        let written = flags.store.write(&write(key, value), clock::now()).await;
        flags.refresh().await.unwrap();
        written.unwrap()
    };
    theirs("theirs", 5.into()).await;
    theirs(&rules_key("theirs"), Rules::default().into()).await;
    let nothing = flags.revert(first, "ada", "back").await.unwrap_err();
    assert_eq!(
        nothing.to_string(),
        "this change of flags is refused: nothing that this program knows differs from revision 1"
    );
    set(&flags, "switch", false).await.unwrap();
    let reverted = flags.revert(first, "ada", "back").await.unwrap();
    assert_eq!(reverted, Revision::new(5));
    assert!(flags.snapshot().enabled(&SWITCH));
    let stored = flags.store.load().await.unwrap();
    assert_eq!(stored.values["theirs"].value, 5.into(), "as it was");
    let newest = flags.history(2).await.unwrap();
    assert_eq!(newest[0].key, "switch");
    assert_eq!(
        newest[1].revision,
        Revision::new(4),
        "one change for one flag"
    );
}

/// Such rules are in the histories of stores that were written before they were checked.
#[tokio::test]
async fn a_revert_does_not_bring_back_rules_that_nobody_would_look_at() {
    let store = Arc::new(MemoryStore::new());
    let flags = Flags::open(store, dspex::declarations()).await.unwrap();
    let key = rules_key(dspex::TELEMETRY_V2.key);
    let listed = Rules {
        deny: ["ada".to_owned()].into(),
        ..Rules::default()
    };
    let first = set(&flags, &key, listed.clone()).await.unwrap();
    let newest = set(&flags, &key, FlagValue::Unset).await.unwrap();
    let refused = flags.revert(first, "ada", "back").await.unwrap_err();
    let check = dspex::check_rules(&key, &listed.into()).unwrap_err();
    assert_eq!(refused.to_string(), check.to_string());
    assert_eq!(flags.snapshot().revision(), newest, "nothing was written");
    assert_eq!(
        flags.snapshot().rules(dspex::TELEMETRY_V2.key).unwrap(),
        None
    );
}
