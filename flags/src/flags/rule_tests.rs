//! What must hold of rules, layers, explanations and reverts.

use serde_json::json;

use super::*;
use crate::error::FlagError;
use crate::explain::Reason;
use crate::flag::Flag;
use crate::layers::Layer;
use crate::percent::Percent;
use crate::rules::{Rules, Variant, rules_key};
use crate::store::MemoryStore;
use crate::value::Object;

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
const GREETING: Flag<&str> = Flag {
    key: "greeting",
    default: "hello",
    description: "a text",
    owner: "tests",
};
const LIMIT: Flag<f64> = Flag {
    key: "limit",
    default: 2.5,
    description: "a number",
    owner: "tests",
};
const SHAPE: Flag<Object> = Flag {
    key: "shape",
    default: Object::EMPTY,
    description: "an object",
    owner: "tests",
};

fn declarations() -> Vec<Declaration> {
    vec![
        SWITCH.declaration(),
        SHARE.declaration(),
        GREETING.declaration(),
        LIMIT.declaration(),
        SHAPE.declaration(),
    ]
}

async fn open() -> Arc<Flags> {
    Flags::open(Arc::new(MemoryStore::new()), declarations())
        .await
        .unwrap()
}

async fn set(flags: &Flags, key: &str, value: impl Into<FlagValue>) -> Result<Revision, FlagError> {
    flags
        .write(Write {
            expected: None,
            set: vec![(key.to_owned(), value.into())],
            who: "ada".to_owned(),
            why: "a test".to_owned(),
        })
        .await
}

async fn rule(flags: &Flags, key: &str, rules: Rules) -> Result<Revision, FlagError> {
    set(flags, &rules_key(key), rules).await
}

fn keys<T: FromIterator<String>>(keys: &[&str]) -> T {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn variant(name: &str, weight: u32, value: serde_json::Value) -> Variant {
    Variant {
        name: name.to_owned(),
        weight,
        value,
    }
}

fn half() -> Percent {
    Percent::from_percent(50.0).unwrap()
}

#[tokio::test]
async fn every_type_is_read_as_what_was_written() {
    let flags = open().await;
    let before = flags.snapshot();
    assert_eq!(before.value(&GREETING), "hello");
    assert!((before.value(&LIMIT) - 2.5).abs() < f64::EPSILON);
    assert!(before.value(&SHAPE).is_empty());
    set(&flags, "greeting", "good morning").await.unwrap();
    set(&flags, "limit", 7).await.unwrap();
    let shape = flags.read_value("shape", &json!({"a": [1]})).unwrap();
    set(&flags, "shape", shape).await.unwrap();
    let after = flags.snapshot();
    assert_eq!(after.value(&GREETING), "good morning");
    assert!((after.value(&LIMIT) - 7.0).abs() < f64::EPSILON);
    assert_eq!(after.value(&SHAPE)["a"], json!([1]));
    let error = set(&flags, "limit", "seven").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "flag `limit` takes a number: `seven` is a string"
    );
}

#[tokio::test]
async fn lists_decide_before_the_share_and_the_kill_switch_before_all() {
    let flags = open().await;
    let lists = Rules {
        allow: keys(&["ada"]),
        deny: keys(&["bob"]),
        ..Rules::default()
    };
    rule(&flags, "share", lists.clone()).await.unwrap();
    rule(&flags, "switch", lists.clone()).await.unwrap();
    let zero = flags.snapshot();
    assert!(!zero.rollout(&SHARE, "ada"), "at 0 % nobody is in");
    assert!(zero.enabled_for(&SWITCH, "ada") && !zero.enabled_for(&SWITCH, "carl"));
    assert!(!zero.enabled(&SWITCH));

    set(&flags, "share", Percent::from_basis_points(1).unwrap())
        .await
        .unwrap();
    assert!(flags.snapshot().rollout(&SHARE, "ada"));
    set(&flags, "share", Percent::HUNDRED).await.unwrap();
    let all = flags.snapshot();
    assert!(!all.rollout(&SHARE, "bob") && all.rollout(&SHARE, "carl"));

    let killed = Rules {
        killed: true,
        ..lists
    };
    rule(&flags, "share", killed.clone()).await.unwrap();
    rule(&flags, "switch", killed.clone()).await.unwrap();
    rule(
        &flags,
        "greeting",
        Rules {
            killed: true,
            ..Rules::default()
        },
    )
    .await
    .unwrap();
    set(&flags, "greeting", "hi").await.unwrap();
    let off = flags.snapshot();
    assert!(!off.rollout(&SHARE, "ada") && !off.enabled_for(&SWITCH, "ada"));
    assert_eq!(off.percent(&SHARE), Percent::ZERO);
    assert_eq!(off.value(&GREETING), "hello", "off is the compiled default");
    let why = off.explain("share", Some("ada")).unwrap();
    assert_eq!((why.reason, why.on), (Reason::Killed, Some(false)));
}

#[tokio::test]
async fn a_prerequisite_must_be_on_for_the_key() {
    let flags = open().await;
    let requires = |flag: &str| Rules {
        requires: vec![flag.to_owned()],
        ..Rules::default()
    };
    rule(&flags, "switch", requires("share")).await.unwrap();
    set(&flags, "switch", true).await.unwrap();
    set(&flags, "share", half()).await.unwrap();
    let snapshot = flags.snapshot();
    assert!(!snapshot.enabled(&SWITCH), "without a key 50 % is not on");
    for number in 0..200 {
        let key = format!("session-{number}");
        let on = snapshot.rollout(&SHARE, &key);
        assert_eq!(snapshot.enabled_for(&SWITCH, &key), on);
        let why = snapshot.explain("switch", Some(&key)).unwrap();
        let reason = if on {
            Reason::Value
        } else {
            Reason::Requires("share".to_owned())
        };
        assert_eq!(why.reason, reason);
    }
    let cycle = rule(&flags, "share", requires("switch")).await.unwrap_err();
    assert_eq!(
        cycle.to_string(),
        "flag `share.rules` takes a rules: prerequisites form a cycle: share -> switch -> share"
    );
    let itself = rule(&flags, "share", requires("share")).await.unwrap_err();
    assert!(itself.to_string().contains("share -> share"), "{itself}");
    let unknown = rule(&flags, "share", requires("swich")).await.unwrap_err();
    assert!(unknown.to_string().contains("`switch`"), "{unknown}");
}

/// Two processes write half a cycle each: the later one is told of the whole.
#[tokio::test]
async fn two_writers_cannot_make_a_cycle_together() {
    let store = Arc::new(MemoryStore::new());
    let one = Flags::open(store.clone(), declarations()).await.unwrap();
    let other = Flags::open(store.clone(), declarations()).await.unwrap();
    let requires = |flag: &str| Rules {
        requires: vec![flag.to_owned()],
        ..Rules::default()
    };
    rule(&one, "switch", requires("share")).await.unwrap();
    let late = rule(&other, "share", requires("switch")).await.unwrap_err();
    assert!(
        late.to_string().contains("share -> switch -> share"),
        "{late}"
    );
    // Nor by a check that was made before the other had written.
    let stale = Write {
        expected: Some(Revision::ZERO),
        set: vec![(rules_key("limit"), Rules::default().into())],
        who: "ada".to_owned(),
        why: "a test".to_owned(),
    };
    let stale = other.write(stale).await.unwrap_err();
    assert!(matches!(stale, FlagError::Conflict { .. }), "{stale}");
    // And whoever wrote past this check is not served.
    let bypass = Write {
        expected: None,
        set: vec![(rules_key("share"), requires("switch").into())],
        who: "eve".to_owned(),
        why: "by hand".to_owned(),
    };
    store.write(&bypass, clock::now()).await.unwrap();
    let error = one.refresh().await.unwrap_err();
    assert!(
        error.to_string().contains("share -> switch -> share"),
        "{error}"
    );
    assert!(
        !one.snapshot().rollout(&SHARE, "ada"),
        "the last good serves"
    );
    assert!(one.store_error().is_some());
}

#[tokio::test]
async fn variants_divide_the_keys_by_weight_and_pins_come_first() {
    const KEYS: u32 = 20_000;
    let flags = open().await;
    let variants = Rules {
        variants: vec![
            variant("never", 0, json!("nobody's")),
            variant("one", 1, json!("hi")),
            variant("three", 3, json!("hey")),
        ],
        pins: [("ada".to_owned(), "never".to_owned())].into(),
        ..Rules::default()
    };
    rule(&flags, "greeting", variants).await.unwrap();
    let snapshot = flags.snapshot();
    assert_eq!(snapshot.value_for(&GREETING, "ada"), "nobody's");
    assert_eq!(
        snapshot.value(&GREETING),
        "hello",
        "without a key its value"
    );
    let mut counts = std::collections::BTreeMap::new();
    for number in 0..KEYS {
        let key = format!("session-{number}");
        *counts
            .entry(snapshot.value_for(&GREETING, &key))
            .or_insert(0_u32) += 1;
    }
    assert_eq!(counts.len(), 2, "a weight of 0 is nobody: {counts:?}");
    let share = f64::from(counts["hi"]) / f64::from(KEYS);
    assert!((share - 0.25).abs() < 0.01, "{counts:?}");
}

#[tokio::test]
async fn wrong_rules_are_refused_with_what_is_wrong() {
    let flags = open().await;
    let text = |value: &str| json!(value);
    for (flag, rules, says) in [
        (
            "greeting",
            json!({"variants": [{"name": "a", "weight": 0, "value": "x"}]}),
            "every weight is 0",
        ),
        (
            "greeting",
            json!({"variants": [{"name": "a", "weight": 1, "value": {}}]}),
            "variant `a`: `{}` is not a text",
        ),
        (
            "greeting",
            json!({"variants": [{"name": "a", "weight": -1, "value": "x"}]}),
            "not a set of rules",
        ),
        (
            "greeting",
            json!({"variants": [
                {"name": "a", "weight": 2_147_483_647, "value": "x"},
                {"name": "b", "weight": 1, "value": "x"}]}),
            "add up to more than",
        ),
        (
            "greeting",
            json!({"variants": [{"name": "a", "weight": 1, "value": "x"},
                                {"name": "a", "weight": 1, "value": "x"}]}),
            "two variants `a`",
        ),
        ("greeting", json!({"pins": {"ada": "b"}}), "no variant `b`"),
        ("greeting", json!({"allow": ["ada"]}), "have variants"),
        (
            "share",
            json!({"variants": [{"name": "a", "weight": 1, "value": 5}]}),
            "has no variants",
        ),
        (
            "share",
            json!({"allow": ["ada"], "deny": ["ada"]}),
            "both in `allow` and in `deny`",
        ),
        ("share", json!({"alow": ["ada"]}), "unknown field `alow`"),
        ("share", json!({"requires": ["limit"]}), "never on"),
        (
            "share",
            json!({"allow": ["k".repeat(1_000_000)]}),
            "longer than",
        ),
        ("share", text("]"), "not a JSON object"),
    ] {
        let key = rules_key(flag);
        let refused = match flags.read_value(&key, &rules) {
            Ok(value) => set(&flags, &key, value).await.unwrap_err(),
            Err(error) => error,
        };
        let refused = refused.to_string();
        let says = says.replace("have variants", "has variants");
        assert!(
            refused.contains(&says) && refused.len() < 600,
            "{says}: {refused}"
        );
    }
    assert_eq!(flags.snapshot().revision(), Revision::ZERO);
    assert!(flags.read_value("shar.rules", &json!({})).is_err());
}

/// A million bytes, NUL, combining characters: a key is bytes, and only the same bytes are the same
/// key.
#[tokio::test]
async fn hostile_keys_have_a_place_like_any_other() {
    let flags = open().await;
    set(&flags, "share", half()).await.unwrap();
    rule(
        &flags,
        "switch",
        Rules {
            allow: keys(&["a\0b", "e\u{301}"]),
            ..Rules::default()
        },
    )
    .await
    .unwrap();
    let snapshot = flags.snapshot();
    for key in ["k".repeat(1_000_000), "\0".to_owned(), String::new()] {
        let why = snapshot.explain("share", Some(&key)).unwrap();
        let place = why.bucket.unwrap();
        assert_eq!(snapshot.rollout(&SHARE, &key), place.is_within(half()));
    }
    assert!(snapshot.enabled_for(&SWITCH, "a\0b") && !snapshot.enabled_for(&SWITCH, "ab"));
    assert!(snapshot.enabled_for(&SWITCH, "e\u{301}") && !snapshot.enabled_for(&SWITCH, "\u{e9}"));
}

#[tokio::test]
async fn a_layer_lies_over_the_one_below_and_explain_names_it() {
    let variables = [
        ("APP_FLAG_LIMIT", "4"),
        ("APP_FLAG_SHARE", "12.5%"),
        ("OTHER", "x"),
    ];
    let layers = || {
        let variables = variables.iter();
        Layers::new()
            .environment(
                "APP_FLAG_",
                variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            )
            .configuration([
                ("limit".to_owned(), json!(3)),
                ("greeting".to_owned(), json!("hi")),
            ])
    };
    let store = Arc::new(MemoryStore::new());
    let flags = Flags::open_layered(store, declarations(), layers())
        .await
        .unwrap();
    set(&flags, "share", half()).await.unwrap();
    let told = |key: &str| {
        let why = flags.snapshot().explain(key, None).unwrap();
        (why.layer, why.value.to_string())
    };
    assert_eq!(told("switch"), (Layer::Compiled, "false".to_owned()));
    assert_eq!(told("greeting"), (Layer::Configuration, "hi".to_owned()));
    assert_eq!(told("limit"), (Layer::Environment, "4".to_owned()));
    assert_eq!(told("share"), (Layer::Store, "50%".to_owned()));

    let wrong = [("lmit", json!(3)), ("limit", json!("many"))];
    for (key, json) in wrong {
        let layers = Layers::new().configuration([(key.to_owned(), json)]);
        let store = Arc::new(MemoryStore::new());
        let error = Flags::open_layered(store, declarations(), layers).await;
        assert!(error.unwrap_err().to_string().contains("`limit`"));
    }
}

#[tokio::test]
async fn explain_tells_the_bucket_that_decided() {
    let flags = open().await;
    set(&flags, "share", half()).await.unwrap();
    let why = flags
        .snapshot()
        .explain("share", Some("session-1"))
        .unwrap();
    let bucket = crate::bucket("share", "session-1");
    assert_eq!(why.bucket, Some(bucket));
    assert_eq!(why.on, Some(bucket.get() < 5_000));
    assert_eq!(
        serde_json::to_value(&why).unwrap(),
        json!({"flag": "share", "revision": 1, "layer": "store", "value": 50,
               "on": bucket.get() < 5_000, "variant": null, "bucket": bucket.get(),
               "reason": {"rule": "share"}})
    );
    let error = flags.snapshot().explain("shar", None).unwrap_err();
    assert_eq!(error.nearest.as_deref(), Some("share"));
}
