//! What is the same, tier by tier.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn rules(change: impl FnOnce(&mut RulesConfig)) -> Rules {
    let mut config = RulesConfig::default();
    change(&mut config);
    Rules::new(&config).unwrap()
}

fn found(rules: &Rules, stable: Value, candidate: Value) -> Vec<(String, Tier)> {
    let object = |value| match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    };
    differences(rules, None, &object(stable), &object(candidate))
        .into_iter()
        .map(|difference| (difference.path, difference.rule))
        .collect()
}

#[test]
fn each_tier_finds_its_own() {
    let rules = rules(|_| {});
    let stable =
        json!({"answer": "Paris", "score": 1.0, "sure": true, "tags": ["a"], "note": null});
    for (candidate, path, tier) in [
        (
            json!({"answer": "Rome", "score": 1.0, "sure": true, "tags": ["a"], "note": null}),
            "/answer",
            Tier::Text,
        ),
        (
            json!({"answer": "Paris", "score": 1.1, "sure": true, "tags": ["a"], "note": null}),
            "/score",
            Tier::Numbers,
        ),
        (
            json!({"answer": "Paris", "score": 1.0, "sure": false, "tags": ["a"], "note": null}),
            "/sure",
            Tier::Text,
        ),
        (
            json!({"answer": "Paris", "score": "1.0", "sure": true, "tags": ["a"], "note": null}),
            "/score",
            Tier::Fields,
        ),
        (
            json!({"answer": "Paris", "score": 1.0, "sure": true, "tags": ["a", "b"], "note": null}),
            "/tags",
            Tier::Fields,
        ),
        (
            json!({"answer": "Paris", "score": 1.0, "sure": true, "tags": ["b"], "note": null}),
            "/tags/0",
            Tier::Text,
        ),
        (
            json!({"answer": "Paris", "score": 1.0, "sure": true, "tags": ["a"]}),
            "/note",
            Tier::Fields,
        ),
        (
            json!({"answer": "Paris", "score": 1.0, "sure": true, "tags": ["a"], "note": null, "x": 1}),
            "/x",
            Tier::Fields,
        ),
    ] {
        assert_eq!(
            found(&rules, stable.clone(), candidate.clone()),
            [(path.to_owned(), tier)],
            "{candidate}"
        );
    }
    assert!(found(&rules, stable.clone(), stable).is_empty());
}

#[test]
fn words_are_compared_and_not_their_spelling() {
    let loose = rules(|_| {});
    for (one, other) in [
        ("Paris", " paris\n"),
        ("two  words", "Two words"),
        // One code point, and a letter with a combining accent.
        ("caf\u{e9}", "cafe\u{301}"),
        ("\u{fb01}ne", "fine"),
    ] {
        assert!(
            found(&loose, json!({"a": one}), json!({"a": other})).is_empty(),
            "{one:?} {other:?}"
        );
    }
    assert_eq!(
        found(&loose, json!({"a": "Paris."}), json!({"a": "Paris"})).len(),
        1
    );
    assert_eq!(
        found(&loose, json!({"a": "ab"}), json!({"a": "a b"})).len(),
        1
    );
    let looser = rules(|config| config.ignore_punctuation = true);
    assert!(found(&looser, json!({"a": "Paris."}), json!({"a": "Paris"})).is_empty());
    let strict = rules(|config| config.ignore_case = false);
    assert_eq!(
        found(&strict, json!({"a": "Paris"}), json!({"a": "paris"})).len(),
        1
    );
}

#[test]
fn what_is_ignored_is_looked_at_by_no_tier() {
    let rules =
        rules(|config| config.ignore = vec!["/usage".into(), "/items/*/id".into(), "/a~1b".into()]);
    let stable = json!({"usage": {"total_tokens": 5}, "items": [{"id": 1, "v": "x"}], "a/b": 1});
    assert!(
        found(
            &rules,
            stable.clone(),
            json!({"usage": 7, "items": [{"id": "z", "v": "x"}], "a/b": "q"})
        )
        .is_empty()
    );
    assert!(found(&rules, stable.clone(), json!({"items": [{"v": "x"}]})).is_empty());
    assert_eq!(
        found(&rules, stable, json!({"items": [{"id": 1, "v": "y"}]})),
        [("/items/0/v".to_owned(), Tier::Text)]
    );
}

#[test]
fn a_signature_is_held_against_the_candidate_only_where_stable_keeps_it() {
    let signature: Signature = "q -> answer: str, score: float, odd: int".parse().unwrap();
    let rules = rules(|_| {});
    let object = |value: Value| value.as_object().unwrap().clone();
    let stable = object(json!({"answer": "a", "score": 1, "odd": "no integer"}));
    let candidate = object(json!({"answer": "a", "odd": "no integer"}));
    let found = differences(&rules, Some(&signature), &stable, &candidate);
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.path.as_str(), one.rule))
        .collect();
    assert_eq!(told, [("/score", Tier::Schema), ("/score", Tier::Fields)]);
    assert_eq!(found[0].what, "the declared output score is missing");
}

#[test]
fn numbers_have_a_tolerance_and_large_integers_none_to_spare() {
    let exact = rules(|config| {
        config.tolerance = Tolerance {
            absolute: 0.0,
            relative: 0.0,
        }
    });
    let (one, next) = (
        json!({"n": 9_007_199_254_740_992_u64}),
        json!({"n": 9_007_199_254_740_993_u64}),
    );
    assert!(found(&exact, one.clone(), one.clone()).is_empty());
    assert_eq!(found(&exact, one.clone(), next.clone()).len(), 1);
    assert!(found(&rules(|_| {}), one, next).is_empty());
    let near = rules(|config| {
        config.tolerance = Tolerance {
            absolute: 0.01,
            relative: 0.0,
        }
    });
    assert!(found(&near, json!({"n": 1.0}), json!({"n": 1.009})).is_empty());
    assert_eq!(found(&near, json!({"n": 1.0}), json!({"n": 1.02})).len(), 1);
    assert!(
        found(&near, json!({"n": 1}), json!({"n": 1.0})).is_empty(),
        "1 and 1.0 are one number"
    );
}

#[test]
fn what_means_nothing_is_refused_by_name() {
    let refused = |change: fn(&mut RulesConfig)| {
        let mut config = RulesConfig::default();
        change(&mut config);
        Rules::new(&config).unwrap_err().to_string()
    };
    assert!(refused(|config| config.ignore = vec!["usage".into()]).contains("must begin with `/`"));
    assert!(refused(|config| config.ignore = vec!["/".into()]).contains("everything"));
    assert!(refused(|config| config.tolerance.relative = 2.0).contains("tolerance"));
    assert!(refused(|config| config.tolerance.absolute = f64::NAN).contains("tolerance"));
    assert!(refused(|config| config.tiers = vec![Tier::Comparer]).contains("comparer"));
}

#[test]
fn hostile_answers_are_told_in_bounds() {
    let rules = rules(|_| {});
    let many =
        |text: &str| Value::Object((0..5_000).map(|n| (format!("k{n}"), json!(text))).collect());
    assert_eq!(found(&rules, many("a"), many("b")).len(), MOST);
    let huge = |letter: &str| json!({"a\u{0}/~": letter.repeat(1 << 20)});
    let object = |value: Value| value.as_object().unwrap().clone();
    let told = differences(&rules, None, &object(huge("x")), &object(huge("y")));
    assert_eq!(told[0].path, "/a\u{0}~1~0");
    assert!(told[0].stable.as_ref().unwrap().as_str().unwrap().len() < 2_000);
    assert!(Pattern::parse("/a\u{0}~1~0").unwrap().covers(&told[0].path));
}

#[test]
fn places_stand_for_every_element_of_a_list() {
    let place = |path: &str| Difference::new(path, Tier::Text, String::new(), None, None).place();
    assert_eq!(place("/items/12/score"), "/items/*/score");
    assert_eq!(place("/answer"), "/answer");
    assert_eq!(place(""), "");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        "[ -~é\u{301}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~]{0,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn an_answer_is_the_same_as_itself(value in json_value()) {
        prop_assert_eq!(found(&rules(|_| {}), json!({"v": value.clone()}), json!({"v": value})), []);
    }

    #[test]
    fn either_side_finds_the_same_places(one in json_value(), other in json_value()) {
        let rules = rules(|_| {});
        let sorted = |mut found: Vec<(String, Tier)>| {
            found.sort();
            found
        };
        let forth = sorted(found(&rules, json!({"v": one.clone()}), json!({"v": other.clone()})));
        let back = sorted(found(&rules, json!({"v": other}), json!({"v": one})));
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn ignoring_every_place_found_leaves_nothing(one in json_value(), other in json_value()) {
        let (stable, candidate) = (json!({"v": one}), json!({"v": other}));
        let paths = found(&rules(|_| {}), stable.clone(), candidate.clone());
        let blind = rules(|config| config.ignore = paths.iter().map(|(path, _)| path.clone()).collect());
        prop_assert_eq!(found(&blind, stable, candidate), []);
    }
}
