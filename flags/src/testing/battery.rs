//! What every store must do, in one battery.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::audit::Write;
use crate::error::FlagError;
use crate::percent::Percent;
use crate::revision::Revision;
use crate::rollout::HASH_VERSION;
use crate::store::{FlagStore, Stored};
use crate::value::{FlagValue, Kind};

/// Runs the battery on stores made by `fresh`, each of them empty.
///
/// # Panics
///
/// At the first thing that does not hold, saying which. That is how a test fails.
pub async fn conformance<F, Fresh>(fresh: F)
where
    F: Fn() -> Fresh,
    Fresh: Future<Output = Arc<dyn FlagStore>>,
{
    an_empty_store_is_at_revision_zero(&*fresh().await).await;
    what_is_written_is_loaded(&*fresh().await).await;
    every_change_is_kept_with_who_and_why(&*fresh().await).await;
    a_write_on_an_old_revision_changes_nothing(&*fresh().await).await;
    a_write_without_why_changes_nothing(&*fresh().await).await;
    odd_text_comes_back_as_it_was(&*fresh().await).await;
    values_of_every_kind_come_back(&*fresh().await).await;
    no_update_is_lost(fresh().await).await;
    an_abandoned_write_is_whole_or_nothing(&*fresh().await).await;
}

async fn an_empty_store_is_at_revision_zero(store: &dyn FlagStore) {
    assert_eq!(load(store).await, Stored::default());
    assert_eq!(revision(store).await, Revision::ZERO);
    assert_eq!(
        store.history(10).await.expect("the history is readable"),
        vec![]
    );
}

async fn what_is_written_is_loaded(store: &dyn FlagStore) {
    let first = accepted(
        store,
        &write(&[("on", true.into()), ("share", percent(1_250))]),
    )
    .await;
    assert_eq!(first, Revision::new(1), "the first write makes revision 1");
    let second = accepted(store, &write(&[("on", false.into())])).await;
    assert_eq!(
        second,
        Revision::new(2),
        "each write makes the next revision"
    );

    let stored = load(store).await;
    assert_eq!(stored.revision, second);
    assert_eq!(revision(store).await, second);
    let found: Vec<_> = stored
        .values
        .iter()
        .map(|(key, stored)| {
            (
                key.as_str(),
                stored.value.clone(),
                stored.revision,
                stored.hash_version,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("on", FlagValue::Bool(false), second, HASH_VERSION),
            ("share", percent(1_250), first, HASH_VERSION),
        ]
    );
}

async fn every_change_is_kept_with_who_and_why(store: &dyn FlagStore) {
    for points in [500, 1_000, 2_500] {
        accepted(
            store,
            &Write {
                expected: None,
                set: vec![("share".to_owned(), percent(points))],
                who: format!("who {points}"),
                why: format!("why {points}"),
            },
        )
        .await;
    }
    let history = store.history(2).await.expect("the history is readable");
    let told: Vec<_> = history
        .iter()
        .map(|change| {
            (
                change.revision.get(),
                change.before.clone(),
                change.after.clone(),
                change.who.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (3, Some(percent(1_000)), percent(2_500), "who 2500"),
            (2, Some(percent(500)), percent(1_000), "who 1000"),
        ],
        "the newest changes come first, and no more than were asked for"
    );
    let oldest = store
        .history(usize::MAX)
        .await
        .expect("the history is readable")
        .pop();
    let oldest = oldest.expect("three changes were made");
    assert_eq!(
        (oldest.revision.get(), oldest.before),
        (1, None),
        "nothing stood there before"
    );
    assert_eq!(
        (oldest.why.as_str(), oldest.key.as_str()),
        ("why 500", "share")
    );
    assert_eq!((oldest.at, oldest.hash_version), (noon(), HASH_VERSION));
}

async fn a_write_on_an_old_revision_changes_nothing(store: &dyn FlagStore) {
    let first = accepted(store, &write(&[("on", true.into())])).await;
    let second = accepted(store, &expecting(first, &[("on", false.into())])).await;
    let before = load(store).await;
    for stale in [Revision::ZERO, first, Revision::new(99)] {
        let refused = store
            .write(&expecting(stale, &[("on", true.into())]), noon())
            .await;
        match refused {
            Err(FlagError::Conflict { expected, actual }) => {
                assert_eq!((expected, actual), (stale, second));
            }
            other => panic!("a write that expects {stale} at {second} must conflict: {other:?}"),
        }
    }
    assert_eq!(load(store).await, before, "a refused write changes nothing");
    let history = store.history(10).await.expect("the history is readable");
    assert_eq!(history.len(), 2, "a refused write leaves no trace");
}

async fn a_write_without_why_changes_nothing(store: &dyn FlagStore) {
    let no_why = Write {
        why: String::new(),
        ..write(&[("on", true.into())])
    };
    let refused = store.write(&no_why, noon()).await;
    assert!(
        matches!(refused, Err(FlagError::BadWrite { .. })),
        "{refused:?}"
    );
    assert_eq!(load(store).await, Stored::default());
}

async fn odd_text_comes_back_as_it_was(store: &dyn FlagStore) {
    let odd = "'; DROP TABLE flags; -- \" e\u{301} 会话 \u{1F600}";
    let odd_write = Write {
        expected: None,
        set: vec![(odd.to_owned(), true.into())],
        who: odd.to_owned(),
        why: odd.to_owned(),
    };
    accepted(store, &odd_write).await;
    assert!(load(store).await.values.contains_key(odd));
    let history = store.history(1).await.expect("the history is readable");
    assert_eq!(
        (history[0].key.as_str(), history[0].who.as_str()),
        (odd, odd)
    );
    assert_eq!(history[0].why, odd);
}

async fn values_of_every_kind_come_back(store: &dyn FlagStore) {
    let rules = serde_json::json!({
        "killed": true, "requires": ["on"], "allow": ["a\u{0}b", "e\u{301}"],
        "variants": [{"name": "one", "weight": 3, "value": {"a": [null]}}],
    });
    let values = [
        ("text", Kind::Text.read(&"a\u{0}b 'e\u{301}'\n".into())),
        ("whole", Kind::Number.read(&3.into())),
        ("broken", Kind::Number.read(&(-2.5).into())),
        (
            "object",
            Kind::Json.read(&serde_json::json!({"b": {"a": []}})),
        ),
        ("text.rules", Kind::Rules.read(&rules)),
        ("nothing", Ok(FlagValue::Unset)),
    ]
    .map(|(key, value)| (key, value.expect("a value of that kind")));
    accepted(store, &write(&values)).await;
    let stored = load(store).await;
    let history = store.history(10).await.expect("the history is readable");
    for (key, value) in values {
        assert_eq!(stored.values[key].value, value, "{key}");
        let change = history.iter().find(|change| change.key == key);
        assert_eq!(change.expect("it is kept").after, value, "{key}");
    }
}

/// Several writers each add to one value by reading it and writing it back. Where an update was
/// lost, the sum falls short.
async fn no_update_is_lost(store: Arc<dyn FlagStore>) {
    const WRITERS: u16 = 6;
    const EACH: u16 = 10;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for _ in 0..EACH {
                add_one(&*store).await;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("no writer fails");
    }
    let total = WRITERS * EACH;
    let stored = load(&*store).await;
    assert_eq!(
        stored.values["count"].value,
        percent(total),
        "an update was lost"
    );
    assert_eq!(stored.revision, Revision::new(total.into()));
    let history = store
        .history(usize::MAX)
        .await
        .expect("the history is readable");
    for pair in history.windows(2) {
        assert_eq!(
            pair[0].before,
            Some(pair[1].after.clone()),
            "a change replaced what it did not see"
        );
    }
}

/// Adds a basis point to the flag `count`, as often as it takes to win.
async fn add_one(store: &dyn FlagStore) {
    loop {
        let stored = load(store).await;
        let count = match stored.values.get("count").map(|stored| &stored.value) {
            Some(FlagValue::Percent(count)) => count.basis_points(),
            _ => 0,
        };
        let write = expecting(stored.revision, &[("count", percent(count + 1))]);
        match store.write(&write, noon()).await {
            Ok(_) => return,
            Err(FlagError::Conflict { .. }) => {}
            Err(other) => panic!("a writer may lose a race, but not otherwise fail: {other}"),
        }
    }
}

/// A write is dropped after each number of steps it can take. Both of its flags are set, or none,
/// and the store goes on.
async fn an_abandoned_write_is_whole_or_nothing(store: &dyn FlagStore) {
    for steps in 1_u16..=30 {
        let value = percent(steps);
        let write = write(&[("left", value.clone()), ("right", value.clone())]);
        let mut writing = store.write(&write, noon());
        let mut taken = 0;
        poll_fn(|context| {
            if taken == steps {
                return Poll::Ready(());
            }
            taken += 1;
            writing.as_mut().poll(context).map(|_| ())
        })
        .await;
        drop(writing);

        // A write of our own waits for whatever the dropped one has left behind.
        accepted(store, &self::write(&[("after", value.clone())])).await;
        let stored = load(store).await;
        let value_of = |key: &str| stored.values.get(key).map(|stored| &stored.value);
        assert_eq!(
            value_of("left"),
            value_of("right"),
            "half a write after {steps} steps"
        );
        assert_eq!(
            value_of("after"),
            Some(&value),
            "the store goes on after {steps} steps"
        );
        let history = store
            .history(usize::MAX)
            .await
            .expect("the history is readable");
        let changes_of = |key: &str| history.iter().filter(|change| change.key == key).count();
        assert_eq!(
            changes_of("left"),
            changes_of("right"),
            "half a trace after {steps} steps"
        );
    }
}

fn percent(basis_points: u16) -> FlagValue {
    Percent::from_basis_points(basis_points)
        .expect("a share up to 100 %")
        .into()
}

fn write(set: &[(&str, FlagValue)]) -> Write {
    Write {
        expected: None,
        set: set
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
        who: "battery".to_owned(),
        why: "to see what the store does".to_owned(),
    }
}

fn expecting(revision: Revision, set: &[(&str, FlagValue)]) -> Write {
    Write {
        expected: Some(revision),
        ..write(set)
    }
}

fn noon() -> Timestamp {
    "2026-01-02T12:00:00.123456Z".parse().expect("a time")
}

async fn accepted(store: &dyn FlagStore, write: &Write) -> Revision {
    store
        .write(write, noon())
        .await
        .expect("the write is accepted")
}

async fn load(store: &dyn FlagStore) -> Stored {
    store.load().await.expect("the store is readable")
}

async fn revision(store: &dyn FlagStore) -> Revision {
    store.revision().await.expect("the revision is readable")
}
