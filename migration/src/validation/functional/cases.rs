//! The configuration's own cases, and a question to each language model.

use std::sync::Arc;

use dspex_pool::{Definition, Program};
use serde_json::{Value, json};

use super::wrong::Wrong;
use super::{Asked, both};
use crate::validation::equal::Outcome;
use crate::validation::probe::{self, Ask, input};
use crate::validation::rehearsal::Pair;
use crate::validation::settings::Case;
use crate::validation::trial::Trial;

pub(super) async fn case(
    number: usize,
    case: &Case,
    pair: &Pair,
    asked: &Asked<'_>,
    trial: &mut Trial<'_>,
) {
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

/// Two answers of a model are seldom the same: what is compared is that both have the signature's output.
pub(super) async fn language_model(
    lm: &str,
    pair: &Pair,
    asked: &Asked<'_>,
    trial: &mut Trial<'_>,
) {
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
                wrong.look();
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
