//! The programs that callers ask: how each is created, asked and checked.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Client;
use super::questions::Question;

/// One program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// `dspy.Predict`.
    Predict,
    /// `dspy.ChainOfThought`.
    ChainOfThought,
    /// A function of `demo_programs.py`.
    Callable,
    /// A function of `drill_programs.py` with a side effect: it must not run twice.
    Order,
    /// A class of `drill_programs.py` that counts the calls of its session.
    Tally,
    /// A function of `drill_programs.py` that tells which DSPy answers.
    Engine,
}

impl Program {
    /// The programs of the demo that can run: without DSPy, the callable alone.
    pub(crate) fn all(dspy: bool) -> Vec<Self> {
        if dspy {
            vec![Self::Predict, Self::ChainOfThought, Self::Callable]
        } else {
            vec![Self::Callable]
        }
    }

    /// Its name in the catalog.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Predict => "answer",
            Self::ChainOfThought => "reason",
            Self::Callable => "triage",
            Self::Order => "order",
            Self::Tally => "tally",
            Self::Engine => "engine",
        }
    }

    /// Whether a call may be made again although it may have run.
    pub(crate) fn repeatable(self) -> bool {
        self != Self::Order
    }

    /// Its inputs for this question; `key` names the call.
    pub(crate) fn inputs(self, question: &Question, key: &str) -> Value {
        match self {
            Self::Predict | Self::ChainOfThought | Self::Callable => {
                json!({"question": question.question})
            }
            Self::Order => json!({"key": key}),
            Self::Tally | Self::Engine => json!({}),
        }
    }

    /// Creates it over HTTP.
    pub(crate) fn create(self, client: &Client) -> Result<()> {
        let dspy = |module: &str| {
            json!({
                "kind": "dspy",
                "signature": "question -> answer",
                "module": module,
            })
        };
        let definition = match self {
            Self::Predict => dspy("predict"),
            Self::ChainOfThought => dspy("chain_of_thought"),
            Self::Callable => json!({"kind": "callable", "target": "demo_programs:triage"}),
            Self::Order => json!({"kind": "callable", "target": "drill_programs:order"}),
            Self::Tally => json!({"kind": "callable", "target": "drill_programs:Tally"}),
            Self::Engine => json!({"kind": "callable", "target": "drill_programs:engine"}),
        };
        let draft = json!({
            "id": self.id(),
            "definition": definition,
            "repeatable": self.repeatable(),
            "stateful": self == Self::Tally,
        });
        client.post("/v1/programs", &draft)?;
        Ok(())
    }

    /// Whether the outputs are what this question must bring. A model of the user's own may say
    /// what it likes, as long as it says something.
    pub(crate) fn check(
        self,
        outputs: &Value,
        question: &Question,
        exact: bool,
    ) -> Result<(), String> {
        let text = |name: &str| outputs[name].as_str().unwrap_or_default().trim();
        let right = match self {
            Self::Predict | Self::ChainOfThought => {
                let reasoned = self == Self::Predict || !text("reasoning").is_empty();
                let answer = text("answer");
                reasoned && !answer.is_empty() && (!exact || answer == question.answer)
            }
            Self::Callable => {
                let words = question.question.split_whitespace().count();
                !text("topic").is_empty() && outputs["words"].as_u64() == u64::try_from(words).ok()
            }
            Self::Order => !text("key").is_empty(),
            // Which number is right depends on the session: `call` looks at it.
            Self::Tally => outputs["calls"].is_u64(),
            Self::Engine => !text("dspy").is_empty(),
        };
        if right {
            Ok(())
        } else {
            Err(format!(
                "{} answered {outputs} to {:?}",
                self.id(),
                question.question
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_are_told_from_right_ones() {
        let question = Question {
            question: "What is the capital of France?".to_owned(),
            answer: "Paris".to_owned(),
        };
        let good = |program: Program, outputs: Value, exact: bool| {
            program.check(&outputs, &question, exact).is_ok()
        };
        assert!(good(Program::Predict, json!({"answer": "Paris"}), true));
        assert!(!good(Program::Predict, json!({"answer": "Lyon"}), true));
        assert!(good(Program::Predict, json!({"answer": "Lyon"}), false));
        assert!(!good(Program::Predict, json!({"answer": " "}), false));
        assert!(!good(
            Program::ChainOfThought,
            json!({"answer": "Paris"}),
            true
        ));
        let reasoned = json!({"answer": "Paris", "reasoning": "because"});
        assert!(good(Program::ChainOfThought, reasoned, true));
        assert!(good(
            Program::Callable,
            json!({"topic": "geography", "words": 6}),
            true
        ));
        assert!(!good(
            Program::Callable,
            json!({"topic": "geography", "words": 5}),
            true
        ));
        assert!(!good(Program::Callable, Value::Null, true));
    }
}
