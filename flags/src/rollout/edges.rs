//! What must hold where a hash is at an edge, for keys that have such a hash: all the way from a key to
//! an answer, and not of the arithmetic alone.
//!
//! The keys were not searched for: the hash can be run backwards, and gives the four bytes that a key must
//! end with. The first beginning was taken for which those are letters and digits.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::explain::Reason;
use crate::flag::Declaration;
use crate::snapshot::Snapshot;
use crate::value::FlagValue;
use crate::{Flags, MemoryStore, Write};

/// The first and the last hash, those in the middle, and the one beside the first.
pub(crate) const HASHES: [u32; 5] = [0, 1, (1 << 31) - 1, 1 << 31, u32::MAX];

/// For each of these flags a key with each of these hashes. They have the names of the flags that flagd is
/// compared with.
pub(crate) const KEYS: [(&str, [&str; 5]); 4] = [
    (
        "flag",
        [
            "session-00001653-1wq6",
            "session-00005094-217u",
            "session-00001824-t6l7",
            "session-00007435-lbf3",
            "session-00001550-h6ca",
        ],
    ),
    (
        "share",
        [
            "session-0001219-4bct",
            "session-0001533-468d",
            "session-0001958-m5ur",
            "session-0003364-abxf",
            "session-0008657-dkp1",
        ],
    ),
    (
        "split",
        [
            "session-0005223-9nwr",
            "session-0008893-drbz",
            "session-0009010-h7vs",
            "session-0001993-8may",
            "session-0004486-bglw",
        ],
    ),
    (
        "text",
        [
            "session-00000609-ptjx",
            "session-00002181-1ayi",
            "session-00008541-77mp",
            "session-00002169-fq5j",
            "session-00001694-d223",
        ],
    ),
];

fn keys(flag: &str) -> [&'static str; 5] {
    let of = KEYS.iter().find(|(name, _)| *name == flag);
    of.expect("there are keys for it").1
}

#[test]
fn the_keys_have_those_hashes() {
    for (flag, keys) in KEYS {
        assert_eq!(
            keys.map(|key| Placer::new(flag).hash(key)),
            HASHES,
            "{flag}"
        );
        let places = keys.map(|key| bucket(flag, key).get());
        assert_eq!(places, [0, 0, 4_999, 5_000, 9_999], "{flag}");
    }
}

/// The flags of [`KEYS`], with what is set of them.
async fn snapshot(set: &[(&str, serde_json::Value)]) -> Arc<Snapshot> {
    let declaration = |key: &'static str, default: FlagValue| Declaration {
        key: key.into(),
        default,
        description: "a flag".into(),
        owner: "tests".into(),
    };
    let declarations = vec![
        declaration("flag", Percent::ZERO.into()),
        declaration("share", Percent::ZERO.into()),
        declaration("split", false.into()),
        declaration("text", "nobody's".into()),
    ];
    let flags = Flags::open(Arc::new(MemoryStore::new()), declarations)
        .await
        .unwrap();
    let set = set.iter().map(|(key, json)| {
        let value = flags.read_value(key, json).unwrap();
        ((*key).to_owned(), value)
    });
    let write = Write {
        expected: None,
        set: set.collect(),
        who: "ada".to_owned(),
        why: "a test".to_owned(),
    };
    flags.write(write).await.unwrap();
    flags.snapshot()
}

#[tokio::test]
async fn a_share_takes_the_edges_one_after_the_other() {
    for (share, on) in [
        (0.0, [false; 5]),
        (0.01, [true, true, false, false, false]),
        (49.99, [true, true, false, false, false]),
        (50.0, [true, true, true, false, false]),
        (50.01, [true, true, true, true, false]),
        (99.99, [true, true, true, true, false]),
        (100.0, [true; 5]),
    ] {
        for flag in ["flag", "share"] {
            let snapshot = snapshot(&[(flag, json!(share))]).await;
            let answers = keys(flag).map(|key| {
                let why = snapshot.explain(flag, Some(key)).unwrap();
                assert_eq!(why.reason, Reason::Share);
                why.on.unwrap()
            });
            assert_eq!(answers, on, "{flag} at {share} %");
        }
    }
}

#[tokio::test]
async fn variants_meet_at_the_edges() {
    let heaviest = i32::MAX;
    for (weights, chosen) in [
        (vec![1], ["0"; 5]),
        (vec![1, 1], ["0", "0", "0", "1", "1"]),
        // A weight of 0 is nobody's, at either end and in the middle.
        (vec![0, 1, 0, 1, 0], ["1", "1", "1", "3", "3"]),
        (vec![1, heaviest - 1], ["0", "0", "1", "1", "1"]),
        (vec![heaviest - 1, 1], ["0", "0", "0", "0", "1"]),
        (vec![heaviest], ["0"; 5]),
        (vec![1; 3], ["0", "0", "1", "1", "2"]),
    ] {
        let variants = weights.iter().enumerate();
        let variants: Vec<_> = variants
            .map(|(name, weight)| {
                let name = name.to_string();
                json!({"name": name, "weight": weight, "value": name})
            })
            .collect();
        let snapshot = snapshot(&[("text.rules", json!({"variants": variants}))]).await;
        let answers = keys("text").map(|key| {
            let why = snapshot.explain("text", Some(key)).unwrap();
            assert_eq!(why.variant, Some(why.value.to_string()));
            why.value.to_string()
        });
        assert_eq!(answers, chosen, "{weights:?}");
    }
    let halves = json!({"variants": [
        {"name": "on", "weight": 50, "value": true},
        {"name": "off", "weight": 50, "value": false}]});
    let snapshot = snapshot(&[("split.rules", halves)]).await;
    let on = keys("split").map(|key| snapshot.explain("split", Some(key)).unwrap().on.unwrap());
    assert_eq!(on, [true, true, true, false, false]);
}
