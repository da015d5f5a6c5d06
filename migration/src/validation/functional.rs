//! Whether both pools do the same with the same operations.
//!
//! What is known to be right is asked of both: that two pools are wrong alike is no equivalence. Lists of
//! programs are no operation of a pool: the catalog is one for both lanes.

use std::sync::Arc;

use dspex_pool::{Definition, PoolError, Program, SharedPool};
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::equal::{Outcome, difference, outputs_differ};
use super::probe::{self, Ask, GRACE, Probe, input};
use super::rehearsal::Pair;
use super::report::{Area, Finding};
use super::sessions::{Session, Turn};
use super::settings::{Case, ValidationSettings};
use super::trial::Trial;

/// Sessions at the same time on each pool.
const SESSIONS: usize = 10;

/// Turns of each session.
const TURNS: u64 = 8;

/// Programs of the catalog that are built at once.
const BUILDS_AT_ONCE: usize = 4;

/// What is asked of both beside the settings.
pub(super) struct Asked<'a> {
    pub(super) probe: &'a Probe,
    pub(super) settings: &'a ValidationSettings,
    pub(super) programs: &'a [Arc<Program>],
    pub(super) lms: &'a [String],
}

/// Whether the probe's programs can be built in both pools. Without them nothing else is known.
pub(super) async fn probe_builds(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) -> bool {
    trial.begins("building the probe's programs");
    let probe = asked.probe;
    let mut wrong = Wrong::default();
    for program in [
        &probe.echo,
        &probe.add,
        &probe.sleep,
        &probe.fail,
        &probe.count,
    ] {
        let (stable, candidate) = checked(pair, program, asked).await;
        wrong.unless_built("stable", program, &stable);
        wrong.unless_built("the candidate", program, &candidate);
    }
    // Without these the workers do not keep callers to what is allowed.
    for (name, target) in [
        ("absent", format!("{}:absent", probe::MODULE)),
        ("not-allowed", "sched:scheduler".to_owned()),
    ] {
        match probe::of_target(name, &target, 1) {
            Err(why) => wrong.note(why),
            Ok(program) => {
                let (stable, candidate) = checked(pair, &program, asked).await;
                wrong.unless_rejected("stable", &target, &stable);
                wrong.unless_rejected("the candidate", &target, &candidate);
            }
        }
    }
    let hint = "both must run callables of the workers' own package: a foreign worker command that cannot is \
        validated with cases and a migration alone, with migration.validation.run = \"none\"";
    wrong.find(
        "programs are built, and refused, alike",
        "every one of 7",
        hint,
        trial,
    )
}

/// The rest.
pub(super) async fn functional(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    answers(pair, asked, trial).await;
    failures(pair, asked, trial).await;
    forgets(pair, asked, trial).await;
    sessions(pair, asked, trial).await;
    moves(pair, asked, trial).await;
    catalog(pair, asked, trial).await;
    for (index, case) in asked.settings.cases.iter().enumerate() {
        self::case(index + 1, case, pair, asked, trial).await;
    }
    if asked.settings.use_lms {
        for lm in asked.lms {
            language_model(lm, pair, asked, trial).await;
        }
    }
}

/// What is wrong, place by place.
#[derive(Default)]
struct Wrong {
    looked: usize,
    found: Vec<String>,
}

impl Wrong {
    fn note(&mut self, what: String) {
        self.found.push(what);
    }

    fn unless_built(&mut self, whose: &str, program: &Program, built: &Built) {
        self.looked += 1;
        if let Err(why) = built {
            self.note(format!("{whose} cannot build {}: {why}", program.key.id));
        }
    }

    fn unless_rejected(&mut self, whose: &str, target: &str, built: &Built) {
        self.looked += 1;
        match built {
            Err(Unbuilt::Rejected(_)) => {}
            Err(other) => self.note(format!("{whose} does not refuse {target}: {other}")),
            Ok(()) => self.note(format!("{whose} builds {target}, which is not allowed")),
        }
    }

    /// Both outcomes must be the wanted one.
    fn unless(&mut self, what: &str, wanted: &Outcome, stable: &Outcome, candidate: &Outcome) {
        for (whose, outcome) in [("stable", stable), ("the candidate", candidate)] {
            self.looked += 1;
            if let Some(found) = differs(wanted, outcome) {
                self.note(format!("{what}, {whose}: {found}"));
            }
        }
    }

    /// Tells it. Whether all was well.
    fn find(self, name: &str, limit: &str, hint: &str, trial: &mut Trial<'_>) -> bool {
        let ok = self.found.is_empty();
        let value = match self.found.first() {
            None => format!("{} of {}", self.looked, self.looked),
            Some(first) if self.found.len() == 1 => first.clone(),
            Some(first) => format!("{first}; and {} more", self.found.len() - 1),
        };
        let finding = Finding::new(Area::Functional, name, ok, value, limit);
        trial.found(finding.hint((!ok).then_some(hint)));
        ok
    }
}

/// How an outcome differs from the wanted one.
fn differs(wanted: &Outcome, outcome: &Outcome) -> Option<String> {
    match (wanted, outcome) {
        (Outcome::Answered(wanted), Outcome::Answered(outputs)) => {
            outputs_differ(wanted, outputs, "right is", "answered was")
        }
        _ => difference(wanted, outcome).map(|_| format!("{outcome} where {wanted} is right")),
    }
}

type Built = Result<(), Unbuilt>;

/// Why a program was not built.
#[derive(Debug, thiserror::Error)]
enum Unbuilt {
    #[error("rejected ({0})")]
    Rejected(String),
    #[error("{0}")]
    Failed(PoolError),
    #[error("it was not done in time")]
    Late,
}

async fn check(pool: &SharedPool, program: &Program, asked: &Asked<'_>) -> Built {
    let within = asked.settings.patience + GRACE;
    match tokio::time::timeout(within, pool.check(program)).await {
        Err(_) => Err(Unbuilt::Late),
        Ok(Ok(())) => Ok(()),
        Ok(Err(PoolError::Rejected { message })) => Err(Unbuilt::Rejected(message)),
        Ok(Err(other)) => Err(Unbuilt::Failed(other)),
    }
}

async fn checked(pair: &Pair, program: &Program, asked: &Asked<'_>) -> (Built, Built) {
    tokio::join!(
        check(&pair.stable, program, asked),
        check(&pair.candidate, program, asked)
    )
}

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
        wrong.looked += 1;
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
        wrong.looked += 1;
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

async fn catalog(pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("building the catalog's programs in both pools");
    let built: Vec<_> = futures_util::stream::iter(asked.programs)
        .map(|program| async move { (program, checked(pair, program, asked).await) })
        .buffer_unordered(BUILDS_AT_ONCE)
        .collect()
        .await;
    let mut wrong = Wrong::default();
    for (program, (stable, candidate)) in &built {
        wrong.looked += 1;
        let id = &program.key.id;
        match (stable, candidate) {
            // What stable does not build either is no work of the candidate's.
            (Ok(()) | Err(Unbuilt::Rejected(_)), Ok(()))
            | (Err(Unbuilt::Rejected(_)), Err(Unbuilt::Rejected(_))) => {}
            (_, Err(why)) => wrong.note(format!("the candidate cannot build {id}: {why}")),
            (Err(why), Ok(())) => wrong.note(format!("stable cannot build {id}: {why}")),
        }
    }
    wrong.find(
        "the catalog's programs are built alike",
        &format!("all {}", built.len()),
        "give the candidate the modules and profiles that these programs need, or delete them",
        trial,
    );
}

async fn case(number: usize, case: &Case, pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("a case of the configuration");
    let name = format!("case {number}: {}", case.program);
    let limit = if case.expect.is_some() {
        "the expected answer from both"
    } else {
        "the same from both"
    };
    let mut wrong = Wrong::default();
    let mut programs = asked.programs.iter();
    let found = programs.find(|program| program.key.id.as_str() == case.program);
    match found {
        None => wrong.note(format!(
            "there is no program {:?} in the catalog",
            case.program
        )),
        Some(program) if asks_model(program) && !asked.settings.use_lms => {
            wrong.note("it asks a language model, and validation.use_lms is false".to_owned());
        }
        Some(program) => {
            let ask = Ask::new(program, case.inputs.clone(), asked.settings.patience)
                .session(&format!("validation-case-{number}"), None);
            let (stable, candidate) = both(pair, ask).await;
            match &case.expect {
                Some(expect) => {
                    let wanted = Outcome::Answered(expect.clone());
                    wrong.unless("the case", &wanted, &stable, &candidate);
                }
                None => wrong.unless_alike(&stable, &candidate),
            }
        }
    }
    wrong.find(
        &name,
        limit,
        "mend the case under [[validation.cases]], or the pool that answers wrongly",
        trial,
    );
}

fn asks_model(program: &Program) -> bool {
    matches!(program.definition, Definition::Dspy { .. })
}

impl Wrong {
    /// Both must do the same, and neither may fail by a fault of its pool's.
    fn unless_alike(&mut self, stable: &Outcome, candidate: &Outcome) {
        self.looked += 2;
        if let Some(found) = difference(stable, candidate) {
            self.note(found);
        } else if let Outcome::Unanswered = candidate {
            self.note("neither answers".to_owned());
        } else if let Outcome::Failed { kind, .. } = candidate
            && !["invalid-input", "program-failed", "provider-failed"].contains(kind)
        {
            self.note(format!("both fail: {candidate}"));
        }
    }
}

/// Two answers of a model are seldom the same: what is compared is that both have the signature's output.
async fn language_model(lm: &str, pair: &Pair, asked: &Asked<'_>, trial: &mut Trial<'_>) {
    trial.begins("a question to a language model");
    let mut wrong = Wrong::default();
    let definition = serde_json::from_value::<Definition>(
        json!({"kind": "dspy", "signature": "question -> answer", "lm": lm}),
    );
    let program = definition
        .map_err(|error| error.to_string())
        .and_then(|definition| probe::of_definition("lm", definition, 1));
    match program {
        Err(why) => wrong.note(why),
        Ok(program) => {
            let inputs = input("question", "What is the capital of France?");
            let ask = Ask::new(&Arc::new(program), inputs, asked.settings.patience);
            let (stable, candidate) = both(pair, ask).await;
            for (whose, outcome) in [("stable", stable), ("the candidate", candidate)] {
                wrong.looked += 1;
                let answered = matches!(&outcome, Outcome::Answered(outputs)
                    if outputs.get("answer").and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty()));
                if !answered {
                    wrong.note(format!("{whose}: {outcome}"));
                }
            }
        }
    }
    wrong.find(
        &format!("the language model {lm:?} answers both"),
        "an answer to each",
        "look at the profile under [lms] and at the variable with its key",
        trial,
    );
}
