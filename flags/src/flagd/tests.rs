//! What is exported means the same to flagd, and comes back as it was.
//!
//! The comparison with flagd's own evaluator needs a Python with `openfeature-flagd-core`, named by
//! `DSPEX_TEST_OPENFEATURE_PYTHON`. Without the variable it says so and passes, but not under `CI`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::flag::Declaration;
use crate::snapshot::Snapshot;
use crate::value::{FlagValue, Kind};
use crate::{Flags, MemoryStore, Percent, Write};

fn declarations() -> Vec<Declaration> {
    let declaration = |key: &'static str, default: FlagValue| Declaration {
        key: key.into(),
        default,
        description: "a flag".into(),
        owner: "tests".into(),
    };
    let kind = |kind: Kind, json: Value| kind.read(&json).unwrap();
    vec![
        declaration("plain", true.into()),
        declaration("listed", false.into()),
        declaration("killed", true.into()),
        declaration("needs", true.into()),
        declaration("needs_more", true.into()),
        declaration("split", false.into()),
        declaration("none", Percent::ZERO.into()),
        declaration("share", Percent::ZERO.into()),
        declaration("all", Percent::ZERO.into()),
        declaration("text", "hello".into()),
        declaration("number", kind(Kind::Number, json!(2.5))),
        declaration("object", kind(Kind::Json, json!({"a": 1}))),
    ]
}

async fn snapshot(set: Vec<(&str, Value)>) -> Arc<Snapshot> {
    let flags = Flags::open(Arc::new(MemoryStore::new()), declarations())
        .await
        .unwrap();
    let set = set.into_iter().map(|(key, json)| {
        let value = flags.read_value(key, &json).unwrap();
        (key.to_owned(), value)
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

async fn everything() -> Arc<Snapshot> {
    let variants = json!({"variants": [
        {"name": "one", "weight": 1, "value": "hi"},
        {"name": "never", "weight": 0, "value": "nobody's"},
        {"name": "three", "weight": 3, "value": "hey"}],
        "pins": {"session-1": "never", "séance é": "one"}});
    snapshot(vec![
        ("listed.rules", json!({"allow": ["session-1", "session-2"]})),
        (
            "killed.rules",
            json!({"killed": true, "allow": ["session-1"]}),
        ),
        (
            "needs.rules",
            json!({"requires": ["listed", "plain"], "deny": ["session-2"]}),
        ),
        (
            "needs_more.rules",
            json!({"requires": ["needs", "listed"], "deny": ["session-3"]}),
        ),
        (
            "split.rules",
            json!({"variants": [
            {"name": "on", "weight": 30, "value": true},
            {"name": "b", "weight": 70, "value": false}], "pins": {"session-3": "on"}}),
        ),
        ("none.rules", json!({"allow": ["session-1"]})),
        ("share", json!(12.34)),
        (
            "share.rules",
            json!({"allow": ["session-1"], "deny": ["session-2"]}),
        ),
        ("all", json!(100)),
        ("all.rules", json!({"deny": ["session-2"]})),
        ("text", json!("good morning")),
        ("text.rules", variants),
        ("number", json!(-7)),
        (
            "object.rules",
            json!({"variants": [
            {"name": "x", "weight": 1, "value": {"b": [1]}},
            {"name": "y", "weight": 1, "value": {}}]}),
        ),
    ])
    .await
}

/// What a flag is for a key, as flagd would say it: a share says whether the key is within it.
fn ours(snapshot: &Snapshot, key: Option<&str>) -> Value {
    let keys = snapshot.values().map(|(flag, _)| flag);
    let answers = keys.map(|flag| {
        let why = snapshot.explain(flag, key).unwrap();
        let value = match (&why.value, why.on) {
            (FlagValue::Percent(_), on) => json!(on.unwrap_or(false)),
            (value, _) => json!(value),
        };
        (flag.to_owned(), value)
    });
    Value::Object(answers.collect())
}

fn keys() -> Vec<Option<String>> {
    let numbered = (0..2_000).map(|number| format!("session-{number}"));
    let odd = ["séance é", "e\u{301}", "a\u{0}b", "会话", " "].map(str::to_owned);
    let long = [
        "k".repeat(23),
        "k".repeat(24),
        "k".repeat(256),
        "k".repeat(70_000),
    ];
    // With the first and the last hash, and those in the middle, for some of these flags.
    let edges = crate::rollout::edges::KEYS
        .into_iter()
        .flat_map(|(_, keys)| keys.map(str::to_owned));
    let some = numbered.chain(odd).chain(long).chain(edges).map(Some);
    some.chain([None]).collect()
}

/// What flagd's own evaluator answers for each key; none where it is not there.
fn theirs(definitions: &Value, keys: &[Option<String>]) -> Option<Vec<Value>> {
    let Some(python) = std::env::var_os("DSPEX_TEST_OPENFEATURE_PYTHON") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI may skip nothing: set DSPEX_TEST_OPENFEATURE_PYTHON to a Python with openfeature-flagd-core"
        );
        eprintln!("skipped: DSPEX_TEST_OPENFEATURE_PYTHON is not set");
        return None;
    };
    let asked = json!({"definitions": definitions, "keys": keys});
    #[expect(
        clippy::disallowed_methods,
        reason = "the test waits for its child, which ends with its input"
    )]
    let mut evaluator = Command::new(python)
        .args(["-c", include_str!("evaluate.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = evaluator.stdin.take().unwrap();
    input.write_all(asked.to_string().as_bytes()).unwrap();
    drop(input);
    let output = evaluator.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let theirs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), keys.len());
    Some(theirs)
}

#[tokio::test]
async fn flagd_s_own_evaluator_gives_the_same_answers() {
    let snapshot = everything().await;
    let keys = keys();
    let theirs = theirs(&export(&snapshot).unwrap(), &keys);
    for (key, theirs) in keys.iter().zip(theirs.into_iter().flatten()) {
        assert_eq!(ours(&snapshot, key.as_deref()), theirs, "{key:?}");
    }
}

/// Definitions as people write them, and what was exported of what they were imported as.
#[tokio::test]
async fn what_people_write_by_hand_is_imported_with_flagd_s_own_answers() {
    let one_of = |keys: Value| json!({"in": [{"var": "targetingKey"}, keys]});
    let flag = |variants: Value, default: &str, targeting: Value| {
        json!({"state": "ENABLED", "variants": variants, "defaultVariant": default,
               "targeting": targeting})
    };
    let texts = json!({"one": "first", "two": "second", "three": "third"});
    let switch = json!({"on": true, "off": false});
    let definitions = json!({"flags": {
        // A key in two lists: the first one decides.
        "text": flag(texts, "three", json!({"if": [
            one_of(json!(["session-1", "session-2"])), "one",
            {"if": [one_of(json!(["session-2", "session-3"])), "two", "three"]}]})),
        "plain": flag(switch.clone(), "off", json!({"if": [
            one_of(json!(["session-1", "session-2"])), "off",
            {"if": [one_of(json!(["session-2", "session-3"])), "on", "off"]}]})),
        "split": flag(switch.clone(), "off", json!({"if": [
            one_of(json!(["session-1"])), "on",
            {"if": [one_of(json!(["session-1", "session-2"])), "off",
                {"fractional": [["on", 1], ["off", 3]]}]}]})),
        "share": flag(switch, "off", json!({"if": [
            one_of(json!(["session-1", "session-2"])), "on",
            {"if": [one_of(json!(["session-2", "session-3"])), "off",
                {"fractional": [["on", 1], ["off", 3]]}]}]})),
        "number": flag(json!({"low": 1, "high": 2}), "low",
            json!({"if": [one_of(json!(["session-1"])), "high", "low"]})),
    }});
    let flags = Flags::open(Arc::new(MemoryStore::new()), declarations())
        .await
        .unwrap();
    let write = Write {
        expected: None,
        set: import(&declarations(), &definitions).unwrap(),
        who: "ada".to_owned(),
        why: "imported".to_owned(),
    };
    flags.write(write).await.unwrap();
    let after = flags.snapshot();
    let exported = export(&after).unwrap();
    let defined = definitions["flags"].as_object().unwrap();
    let keys = keys();
    let by_hand = theirs(&definitions, &keys).into_iter().flatten();
    let back = theirs(&exported, &keys).into_iter().flatten();
    for (key, (by_hand, back)) in keys.iter().zip(by_hand.zip(back)) {
        let ours = ours(&after, key.as_deref());
        for flag in defined.keys() {
            assert_eq!(ours[flag], by_hand[flag], "{flag} for {key:?}");
            assert_eq!(ours[flag], back[flag], "{flag} exported again for {key:?}");
        }
    }
    let ours = ours(&after, Some("session-2"));
    assert_eq!(
        (&ours["text"], &ours["plain"], &ours["share"]),
        (&json!("first"), &json!(false), &json!(true))
    );
}

#[tokio::test]
async fn what_was_exported_comes_back_with_the_same_answers() {
    let before = everything().await;
    let definitions = export(&before).unwrap();
    // Prerequisites were resolved, and a list of lists is no longer one list.
    let mut definitions = definitions;
    for key in ["needs", "needs_more"] {
        definitions["flags"].as_object_mut().unwrap().remove(key);
    }
    let set = import(&declarations(), &definitions).unwrap();
    let flags = Flags::open(Arc::new(MemoryStore::new()), declarations())
        .await
        .unwrap();
    let write = Write {
        expected: None,
        set,
        who: "ada".to_owned(),
        why: "imported".to_owned(),
    };
    flags.write(write).await.unwrap();
    let after = flags.snapshot();
    for key in keys() {
        let (mut before, mut after) = (ours(&before, key.as_deref()), ours(&after, key.as_deref()));
        for answers in [&mut before, &mut after] {
            for key in ["needs", "needs_more"] {
                answers.as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(before, after, "{key:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_said_in_the_other_is_refused_by_name() {
    let hangs = snapshot(vec![
        ("share", json!(50)),
        ("plain.rules", json!({"requires": ["share"]})),
    ])
    .await;
    let error = export(&hangs).unwrap_err();
    assert_eq!(error.key, "share");
    let definition = |key: &str, targeting: Value| {
        json!({"flags": {key: {"state": "ENABLED", "variants": {"on": true, "off": false},
               "defaultVariant": "off", "targeting": targeting}}})
    };
    for (definitions, says) in [
        (json!([]), "no object `flags`"),
        (definition("plan", json!({})), "not declared"),
        (
            definition("plain", json!({"==": [1, 1]})),
            "cannot be imported",
        ),
        (
            definition("plain", json!({"if": [{"in": ["a", ["a"]]}, "on", "off"]})),
            "cannot be imported",
        ),
        (
            definition("share", json!({"fractional": [["on", 1], ["off", 2]]})),
            "finer than",
        ),
        (
            definition("share", json!({"fractional": [["off", 1], ["on", 1]]})),
            "more than one part",
        ),
        (
            definition(
                "share",
                json!({"fractional": [{"var": "email"}, ["on", 1]]}),
            ),
            "targetingKey alone",
        ),
        (
            definition(
                "share",
                json!({"if": [{"in": [{"var": "targetingKey"}, ["ada"]]}, "on", "off"]}),
            ),
            "flag `share` is on for `ada` and off for who is on no list",
        ),
    ] {
        let error = import(&declarations(), &definitions).map(|set| format!("{set:?}"));
        let error = error
            .err()
            .map_or_else(|| "imported".to_owned(), |error| error.to_string());
        assert!(error.contains(says), "{says}: {error}");
    }
}
