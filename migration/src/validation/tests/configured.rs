//! What the configuration brings: cases and language models; and what is told meanwhile.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use dspex_pool::testing::FakePool;
use dspex_pool::{Call, Program, SharedPool};
use serde_json::{Map, Value, json};

use super::pools::{answer, attribute, but, well};
use super::{failed, finding, suite};
use crate::validation::{Case, Finding, Listener, Progress, ValidationReport, probe};

fn shop(id: &str) -> Arc<Program> {
    let program = probe::of_target("any", &format!("shop:{id}"), 7).expect("valid");
    let mut program = Arc::unwrap_or_clone(program);
    program.key.id = id.parse().expect("valid");
    Arc::new(program)
}

fn case(program: &str, inputs: Value, expect: Option<Value>) -> Case {
    let object = |value: Value| match value {
        Value::Object(members) => members,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    Case {
        program: program.to_owned(),
        inputs: object(inputs),
        expect: expect.map(object),
    }
}

#[tokio::test(start_paused = true)]
async fn cases_are_compared_with_each_other_or_with_what_is_expected() {
    let (stable, candidate) = (
        well("v1"),
        but("prices", |_| Ok(FakePool::reply(&json!({"p": 2})))),
    );
    let mut suite = suite(&stable, &candidate);
    suite.programs = vec![shop("orders"), shop("prices")];
    let orders = |expect| case("orders", json!({"n": 1}), expect);
    suite.settings.cases = vec![
        orders(None),
        orders(Some(json!({"n": 1}))),
        orders(Some(json!({"n": 2}))),
        case("prices", json!({"p": 1}), None),
        case("absent", json!({}), None),
    ];
    let report = suite.run(&|_| {}).await;
    assert_eq!(
        failed(&report),
        ["case 3: orders", "case 4: prices", "case 5: absent"],
        "{report:#?}"
    );
    assert!(
        finding(&report, "case 5: absent")
            .check
            .value
            .contains("no program")
    );
}

#[tokio::test(start_paused = true)]
async fn no_model_is_asked_unless_it_is_wanted() {
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&asked);
    let speaks = |seen: Arc<AtomicU64>| {
        move |_: &Call| {
            seen.fetch_add(1, SeqCst);
            Ok(FakePool::reply(&json!({"answer": "Paris"})))
        }
    };
    let (stable, candidate) = (
        but("dspy", speaks(Arc::clone(&seen))),
        but("dspy", speaks(seen)),
    );
    let qa = probe::of_definition(
        "qa",
        serde_json::from_value(json!({"kind": "dspy", "signature": "question -> answer"}))
            .expect("valid"),
        1,
    )
    .expect("valid");
    let run = |use_lms| {
        let stable: SharedPool = stable.shared();
        let mut suite = suite(&well("v1"), &candidate);
        suite.stable.1 = Box::new(move || Box::pin(async move { Ok(stable) }));
        suite.lms = vec!["default".to_owned()];
        suite.programs = vec![Arc::new(qa.clone())];
        suite.settings.use_lms = use_lms;
        suite.settings.cases = vec![case(qa.key.id.as_str(), json!({"question": "?"}), None)];
        async move { suite.run(&|_| {}).await }
    };
    let report = run(false).await;
    assert_eq!(failed(&report), ["case 1: dspex-validation.qa"]);
    assert_eq!(asked.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_wanted_is_asked_once_by_each_pool() {
    let asked = Arc::new(AtomicU64::new(0));
    let speaks = |name: &str, words: &'static str| {
        let seen = Arc::clone(&asked);
        well(name).answer_with(move |call| {
            if attribute(&call.program) != "dspy" {
                return answer(call);
            }
            seen.fetch_add(1, SeqCst);
            Ok(FakePool::reply(&json!({"answer": words})))
        })
    };
    let mut both = suite(&speaks("v1", "Paris"), &speaks("v2", "It is Paris."));
    both.lms = vec!["default".to_owned()];
    both.settings.use_lms = true;
    let report = both.run(&|_| {}).await;
    assert_eq!(failed(&report), Vec::<&str>::new());
    assert_eq!(asked.load(SeqCst), 2);
    let mut silent = suite(&speaks("v1", "Paris"), &speaks("v2", " "));
    silent.lms = vec!["default".to_owned()];
    silent.settings.use_lms = true;
    let report = silent.run(&|_| {}).await;
    assert_eq!(
        failed(&report),
        ["the language model \"default\" answers both"]
    );
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_as_it_happens_and_stands_in_the_report() {
    let told = Mutex::new(Vec::new());
    let listener: &Listener<'_> = &|progress| told.lock().expect("no panic").push(progress);
    let (stable, candidate) = (well("v1"), well("v2"));
    let report = suite(&stable, &candidate).run(listener).await;
    let told = told.into_inner().expect("no panic");
    let found: Vec<Finding> = told
        .iter()
        .filter_map(|progress| match progress {
            Progress::Found(finding) => Some(finding.clone()),
            Progress::Begins(_) => None,
        })
        .collect();
    assert_eq!(found, report.findings);
    assert!(matches!(told[0], Progress::Begins(_)));
    assert_eq!(report.checks().len(), report.findings.len());
    let text = serde_json::to_string(&report).expect("written");
    let read: ValidationReport = serde_json::from_str(&text).expect("read");
    assert_eq!(read.findings, report.findings);
}
