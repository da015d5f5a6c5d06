//! What must hold of prerequisites as a whole: what would cost a decision its stack or its time is
//! refused by name, when it is written and when it is loaded.

use super::*;
use crate::explain::Reason;
use crate::flag::Flag;
use crate::percent::Percent;
use crate::rules::{Rules, rules_key};
use crate::store::MemoryStore;

/// `flag_00`, `flag_01` and so on.
fn declarations(flags: usize) -> Vec<Declaration> {
    let declaration = |number: usize| Declaration {
        key: name(number).into(),
        default: true.into(),
        description: "a flag".into(),
        owner: "tests".into(),
    };
    (0..flags).map(declaration).collect()
}

fn name(number: usize) -> String {
    format!("flag_{number:02}")
}

fn requires(number: usize, flags: impl IntoIterator<Item = usize>) -> (String, FlagValue) {
    let rules = Rules {
        requires: flags.into_iter().map(name).collect(),
        ..Rules::default()
    };
    (rules_key(&name(number)), rules.into())
}

fn write(set: Vec<(String, FlagValue)>) -> Write {
    Write {
        expected: None,
        set,
        who: "ada".to_owned(),
        why: "a test".to_owned(),
    }
}

/// Each requires the next one.
fn chain(flags: usize) -> Vec<(String, FlagValue)> {
    let each = 0..flags - 1;
    each.map(|number| requires(number, [number + 1])).collect()
}

/// Each requires the next two.
fn ladder(flags: usize) -> Vec<(String, FlagValue)> {
    let each = 0..flags - 2;
    each.map(|number| requires(number, [number + 1, number + 2]))
        .collect()
}

#[tokio::test]
async fn what_is_too_deep_or_too_much_is_refused_by_name() {
    let flags = Flags::open(Arc::new(MemoryStore::new()), declarations(40))
        .await
        .unwrap();
    flags.write(write(chain(33))).await.unwrap();
    let last = name(32);
    flags
        .write(write(vec![(last.clone(), false.into())]))
        .await
        .unwrap();
    let why = flags.snapshot().explain(&name(0), None).unwrap();
    assert_eq!(
        (why.on, why.reason),
        (Some(false), Reason::Requires(name(1))),
        "the last of 32 decides"
    );
    let deeper = flags.write(write(vec![requires(32, [33])])).await;
    assert_eq!(
        deeper.unwrap_err().to_string(),
        "flag `flag_00.rules` takes a rules: more than 32 prerequisites follow one another: flag_00 \
         -> flag_01 -> flag_02 -> flag_03 -> flag_04 -> flag_05 -> flag_06 -> flag_07 -> flag_08 -> \
         flag_09 -> flag_10 ->…"
    );
    assert_eq!(flags.snapshot().revision(), Revision::new(2));

    let unset = chain(33)
        .into_iter()
        .map(|(key, _)| (key, FlagValue::Unset));
    flags.write(write(unset.collect())).await.unwrap();
    // Each takes one and as many as the next two.
    let much = flags.write(write(ladder(16))).await.unwrap_err();
    assert_eq!(
        much.to_string(),
        "flag `flag_01.rules` takes a rules: with all its prerequisites a decision takes 1219 \
         evaluations, and 1000 is the most: flag_01"
    );
    flags.write(write(ladder(14))).await.unwrap();
    assert_eq!(
        flags.snapshot().explain(&name(0), None).unwrap().on,
        Some(true)
    );
}

#[tokio::test]
async fn a_store_that_holds_it_is_not_served() {
    for (set, says) in [
        (chain(34), "`flag_00 -> flag_01"),
        (ladder(30), "1000 is the most"),
    ] {
        let store = Arc::new(MemoryStore::new());
        let flags = Flags::open(store.clone(), declarations(40)).await.unwrap();
        store.write(&write(set), clock::now()).await.unwrap();
        let refused = flags.refresh().await.unwrap_err();
        assert!(matches!(*refused, FlagError::Corrupt { .. }), "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
        assert!(flags.store_error().is_some());
        assert_eq!(flags.snapshot().revision(), Revision::ZERO, "the last good");
        let opened = Flags::open(store, declarations(40)).await.unwrap_err();
        assert!(opened.to_string().contains(says), "{opened}");
    }
}

/// However many ways there are to one, it is exported as one condition.
#[tokio::test]
async fn an_export_says_each_prerequisite_once() {
    let flags = Flags::open(Arc::new(MemoryStore::new()), declarations(14))
        .await
        .unwrap();
    let mut set = ladder(14);
    for (number, (_, rules)) in set.iter_mut().enumerate().skip(1) {
        let rules_of = match rules {
            FlagValue::Rules(rules) => Rules::clone(rules),
            other => panic!("{other}"),
        };
        let deny = [format!("session-{number}")].into();
        *rules = Rules { deny, ..rules_of }.into();
    }
    flags.write(write(set)).await.unwrap();
    let exported = crate::flagd::export(&flags.snapshot()).unwrap();
    let first = &exported["flags"]["flag_00"]["targeting"];
    let conditions = first["if"][0]["and"].as_array().unwrap();
    assert_eq!(
        conditions.len(),
        11,
        "those that are denied to somebody: {first}"
    );
}

/// What takes 0 % for the end of a rollout asks for no key.
#[tokio::test]
async fn a_share_is_zero_where_what_it_requires_is_off_for_every_key_and_not_where_for_some() {
    const SHARE: Flag<Percent> = Flag {
        key: "share",
        default: Percent::HUNDRED,
        description: "a share",
        owner: "tests",
    };
    let declared = [declarations(3), vec![SHARE.declaration()]].concat();
    let flags = Flags::open(Arc::new(MemoryStore::new()), declared)
        .await
        .unwrap();
    let rules = Rules {
        requires: vec![name(0)],
        ..Rules::default()
    };
    let set = vec![
        (rules_key(SHARE.key), rules.into()),
        requires(0, [1]),
        (SHARE.key.to_owned(), Percent::HUNDRED.into()),
    ];
    flags.write(write(set)).await.unwrap();
    let listed = |rules: Rules| (rules_key(&name(1)), rules.into());
    let ada = || ["ada".to_owned()].into();
    let killed = Rules {
        killed: true,
        allow: ada(),
        ..Rules::default()
    };
    let allowed = Rules {
        allow: ada(),
        ..Rules::default()
    };
    for (on, rules, percent, without_a_key) in [
        (true, Rules::default(), Percent::HUNDRED, Some(true)),
        (false, Rules::default(), Percent::ZERO, Some(false)),
        (false, allowed, Percent::HUNDRED, None),
        (true, killed, Percent::ZERO, Some(false)),
    ] {
        let set = vec![(name(1), on.into()), listed(rules.clone())];
        flags.write(write(set)).await.unwrap();
        let now = flags.snapshot();
        assert_eq!(now.percent(&SHARE), percent, "{on} {rules:?}");
        assert_eq!(now.rollout(&SHARE, "ada"), percent == Percent::HUNDRED);
        let why = now.explain(SHARE.key, None).unwrap();
        assert_eq!(why.on, without_a_key, "{on} {rules:?}");
        assert_eq!(why.value, percent.into());
    }
}
