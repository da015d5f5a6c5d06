//! Real DSPy, a language-model stand-in, and both kinds of pool: same inputs, same outputs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, python, rehearsal};

/// The demo's language-model stand-in; it ends with its standard input.
struct StandIn {
    child: Child,
    port: u64,
}

impl StandIn {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test starts the stand-in itself"
    )]
    fn start() -> Self {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/demo");
        let mut child = Command::new(python())
            .arg(demo.join("lm_standin.py"))
            .arg("--answers")
            .arg(demo.join("questions.jsonl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        Self {
            child,
            port: told["port"].as_u64().unwrap(),
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_model(port: u64, stable: &str) -> String {
    let configuration = rehearsal().replace("stable = \"v1\"", &format!("stable = {stable:?}"));
    let configuration = configuration.replace("candidate = \"v2\"", "candidate = \"\"");
    format!(
        r#"{configuration}
[lms.default]
model = "openai/stand-in"
api_base = "http://127.0.0.1:{port}/v1"
"#
    )
}

async fn has_dspy(house: &House) -> bool {
    let body = json!({"id": "probe", "kind": "dspy", "signature": "question -> answer"});
    house.post("/v1/programs", body).await.status == 201
}

#[tokio::test]
async fn predict_and_chain_of_thought_answer_alike_on_both_pools() {
    let standin = StandIn::start();
    let questions = [
        "What is the capital of Slovenia?",
        "What is the capital of Ghana?",
        "What is the atomic number of phosphorus?",
    ];
    let mut answers = Vec::new();
    for pool in ["v1", "v2"] {
        let mut house = House::with(&with_model(standin.port, pool));
        house.open().await;
        assert!(
            has_dspy(&house).await,
            "{} has no DSPy: run this through `cargo xtask test`\n{}",
            python(),
            house.log()
        );
        let text = json!({"id": "qa", "kind": "dspy", "signature": "question -> answer"});
        house.post("/v1/programs", text).await.ok(201);
        let lists = json!({
            "id": "cot", "kind": "dspy", "module": "chain_of_thought",
            "signature": {
                "inputs": [{"name": "question", "type": "str", "description": "what is asked"}],
                "outputs": [{"name": "answer", "description": "short"}],
            },
        });
        house.post("/v1/programs", lists).await.ok(201);
        let mut outputs = Vec::new();
        for question in questions {
            for program in ["qa", "cot"] {
                let answer = house
                    .execute(program, "s", json!({"question": question}))
                    .await;
                outputs.push(answer.ok(200)["outputs"].clone());
            }
        }
        answers.push(outputs);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][0], json!({"answer": "Ljubljana"}));
    assert_eq!(answers[0][1]["answer"], "Ljubljana");
    assert!(
        answers[0][1]["reasoning"].is_string(),
        "{:?}",
        answers[0][1]
    );
}

#[tokio::test]
async fn what_model_calls_use_is_counted_into_the_cost_of_copies() {
    let standin = StandIn::start();
    let copied = rehearsal().replace("[migration]", "[migration]\nshadow = \"100%\"");
    let mut house = House::with(&format!(
        r#"{copied}
[lms.default]
model = "openai/stand-in"
api_base = "http://127.0.0.1:{}/v1"
"#,
        standin.port
    ));
    house.open().await;
    assert!(has_dspy(&house).await, "{}", house.log());
    // Its outputs are those that the signature declares: only the worker knows what they cost.
    let qa =
        json!({"id": "qa", "kind": "dspy", "signature": "question -> answer", "repeatable": true});
    house.post("/v1/programs", qa).await.ok(201);
    house.start_migration().await;
    let begun = Instant::now();
    for call in 0_u64.. {
        let session = format!("session-{call}");
        let question = json!({"question": "What is the capital of Ghana?"});
        let answer = house.execute("qa", &session, question).await.ok(200);
        assert_eq!(answer["outputs"], json!({"answer": "Accra"}));
        let shadow = house.get("/admin/v1/shadow").await.ok(200);
        if shadow["tokens_last_minute"].as_u64() > Some(0) {
            return;
        }
        assert!(begun.elapsed() < LONG, "{shadow:#}\n{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_bad_signature_is_refused_at_creation() {
    let standin = StandIn::start();
    for pool in ["v1", "v2"] {
        let mut house = House::with(&with_model(standin.port, pool));
        house.open().await;
        let create = |body: Value| house.post("/v1/programs", body);
        let unbuildable = json!({"kind": "dspy", "signature": "question -> answer: no_such_type"});
        create(unbuildable).await.problem(422, "no_such_type");
        let unknown_lm = json!({"kind": "dspy", "signature": "a -> b", "lm": "nobody"});
        create(unknown_lm).await.problem(422, "nobody");
        let no_arrow = json!({"kind": "dspy", "signature": "question"});
        create(no_arrow).await.problem(422, "->");
        let programs = house.get("/v1/programs").await.ok(200);
        assert_eq!(programs["programs"], json!([]), "nothing was kept");
    }
}
