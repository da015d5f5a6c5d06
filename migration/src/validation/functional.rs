//! Whether both pools do the same with the same operations.
//!
//! What is known to be right is asked of both: that two pools are wrong alike is no equivalence. Lists of
//! programs are no operation of a pool: the catalog is one for both lanes.

mod builds;
mod cases;
mod wrong;

use std::sync::Arc;

use dspex_pool::{Program, SharedPool};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

pub(super) use self::builds::probe_builds;
use self::wrong::Wrong;
use super::equal::Outcome;
use super::probe::{self, Ask, Probe, input};
use super::rehearsal::Pair;
use super::sessions::{Session, Turn};
use super::settings::ValidationSettings;
use super::trial::Trial;

/// Sessions at the same time on each pool.
const SESSIONS: usize = 10;

/// Turns of each session.
const TURNS: u64 = 8;

/// What is asked of both beside the settings.
pub(super) struct Asked<'a> {
    pub(super) probe: &'a Probe,
    pub(super) settings: &'a ValidationSettings,
    pub(super) programs: &'a [Arc<Program>],
    pub(super) lms: &'a [String],
}

/// The rest.
pub(super) async fn functional(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    answers(pair, asked, trial).await;
    failures(pair, asked, trial).await;
    forgets(pair, asked, trial).await;
    sessions(pair, asked, trial).await;
    moves(pair, asked, trial).await;
    builds::catalog(pair, asked, trial).await;
    for (index, case) in asked.settings.cases.iter().enumerate() {
        cases::case(index + 1, case, pair, asked, trial).await;
    }
    if asked.settings.use_lms {
        for lm in asked.lms {
            cases::language_model(lm, pair, asked, trial).await;
        }
    }
}

/// The same call on both, at the same time.
async fn both(pair: &Pair, ask: Ask) -> (Outcome, Outcome) {
    let (stable, candidate) = tokio::join!(ask.clone().of(&pair.stable), ask.of(&pair.candidate));
    (Outcome::of(stable), Outcome::of(candidate))
}

async fn answers(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("the same calls on both pools");
    let mut wrong = Wrong::default();
    let values = [
        json!(null),
        json!(true),
        json!(""),
        json!("a \"question\",\n\u{0}ä 漢 🦀"),
        json!(9_007_199_254_740_993_i64),
        json!(-0.1),
        json!([1, [2, [3, {"four": []}]]]),
        json!({"": {"nested": [null, {}]}}),
        json!("x".repeat(100_000)),
    ];
    for value in values {
        let inputs = input("value", value);
        let ask = Ask::new(&asked.probe.echo, inputs.clone(), asked.settings.patience);
        let (stable, candidate) = both(pair, ask).await;
        wrong.unless("echo", &Outcome::Answered(inputs), &stable, &candidate);
    }
    let sum = Ask::new(
        &asked.probe.add,
        two(json!(2), json!(40)),
        asked.settings.patience,
    );
    let (stable, candidate) = both(pair, sum).await;
    wrong.unless(
        "add",
        &Outcome::Answered(input("sum", 42)),
        &stable,
        &candidate,
    );
    wrong.find(
        "calls are answered alike",
        "every answer right on both",
        "the pool that answers wrongly must not serve: look at its environment",
        trial,
    );
}

fn two(a: Value, b: Value) -> Map<String, Value> {
    Map::from_iter([("a".to_owned(), a), ("b".to_owned(), b)])
}

async fn failures(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("the same failures on both pools");
    let mut wrong = Wrong::default();
    let failed = |kind, exception: Option<&str>| Outcome::Failed {
        kind,
        exception: exception.map(str::to_owned),
        message: "that class of failure".to_owned(),
    };
    let invalid = || failed("invalid-input", None);
    let mut more = two(json!(1), json!(2));
    more.insert("c".to_owned(), json!(3));
    let probe = asked.probe;
    let cases = [
        (
            "an input that is missing",
            &probe.add,
            input("a", 1),
            invalid(),
        ),
        (
            "an input of another type",
            &probe.add,
            two(json!("1"), json!(2)),
            invalid(),
        ),
        ("an input that is unknown", &probe.add, more, invalid()),
        (
            "a program that raises",
            &probe.fail,
            input("reason", "on purpose"),
            failed("program-failed", Some("ValueError")),
        ),
    ];
    for (what, program, inputs, wanted) in cases {
        let ask = Ask::new(program, inputs, asked.settings.patience);
        let (stable, candidate) = both(pair, ask).await;
        wrong.unless(what, &wanted, &stable, &candidate);
    }
    wrong.find(
        "failures are alike",
        "the same class of failure on both",
        "callers and the migration's analysis go by the class: whose fault a failure is",
        trial,
    );
}

async fn forgets(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("forgetting a program, and another version of it");
    let mut wrong = Wrong::default();
    let programs = [
        Ok(Arc::clone(&asked.probe.echo)),
        probe::program("echo", 2),
        Ok(Arc::clone(&asked.probe.echo)),
    ];
    for program in programs {
        match program {
            Err(why) => wrong.note(why),
            Ok(program) => {
                let inputs = input("value", program.key.version);
                let ask = Ask::new(&program, inputs.clone(), asked.settings.patience);
                let (stable, candidate) = both(pair, ask).await;
                wrong.unless(
                    &program.key.to_string(),
                    &Outcome::Answered(inputs),
                    &stable,
                    &candidate,
                );
                tokio::join!(
                    pair.stable.forget(&program.key),
                    pair.candidate.forget(&program.key)
                );
            }
        }
    }
    wrong.find(
        "a forgotten program is built again",
        "every answer right on both",
        "a program that is deleted and made again would not be served",
        trial,
    );
}

async fn sessions(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("ten sessions at the same time on both pools");
    let mut tasks = JoinSet::new();
    let pools = [("stable", &pair.stable), ("the candidate", &pair.candidate)];
    for (whose, pool) in pools {
        for number in 0..SESSIONS {
            let (pool, probe) = (SharedPool::clone(pool), asked.probe.clone());
            let patience = asked.settings.patience;
            tasks.spawn(async move {
                let mut session = Session::new(&format!("validation-session-{number}"));
                for turn in 0..TURNS {
                    let add = 1 + turn * number as u64;
                    match session.turn(&pool, &probe, add, patience).await {
                        Turn::Kept => {}
                        Turn::Told(what) | Turn::Lost(what) => {
                            return Err(format!("{whose}, {what}"));
                        }
                    }
                }
                Ok(())
            });
        }
    }
    let mut wrong = Wrong::default();
    while let Some(ended) = tasks.join_next().await {
        wrong.look();
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(what)) => wrong.note(what),
            Err(error) => wrong.note(error.to_string()),
        }
    }
    wrong.find(
        "sessions keep their state",
        &format!("{SESSIONS} sessions of {TURNS} turns on each, every turn right"),
        "a session's state must travel with its calls and belong to no worker",
        trial,
    );
}

/// From stable to the candidate and back, as a rollout and a rollback take it.
async fn moves(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("a session that changes pools");
    let mut wrong = Wrong::default();
    let mut session = Session::new("validation-session-moves");
    for (whose, pool) in [
        ("stable", &pair.stable),
        ("stable to the candidate", &pair.candidate),
        ("the candidate", &pair.candidate),
        ("the candidate to stable", &pair.stable),
    ] {
        wrong.look();
        let turn = session
            .turn(pool, asked.probe, 1, asked.settings.patience)
            .await;
        if let Turn::Told(what) | Turn::Lost(what) = turn {
            wrong.note(format!("{whose}: {what}"));
        }
    }
    wrong.find(
        "a session moves to the candidate and back",
        "every turn right",
        "a rollout would lose what sessions hold",
        trial,
    );
}
