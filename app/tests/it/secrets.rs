//! No secret that a server knows stands in an answer, in its log, or in what it keeps.

use std::path::Path;

use serde_json::json;

use crate::again::phase;
use crate::house::{House, rehearsal};
use crate::traffic::Traffic;

/// Values that are secrets, by how the server comes to know them.
const PROGRAMS: &str = "programs-token-s3cret-0123456789abcdef";
const API_KEY: &str = "sk-s3cret-of-a-provider-0123456789";
const VARIABLE: &str = "s3cret-value-of-a-variable";
const PASSED: &str = "s3cret-that-is-passed-on";
const WEBHOOK: &str = "s3cret-that-signs-webhooks-0123456789";
const ADMIN: &str = "dspex_a_token_for_tests_only_0123456789abcdef";
const SECRETS: [&str; 6] = [PROGRAMS, API_KEY, VARIABLE, PASSED, WEBHOOK, ADMIN];

fn configuration() -> String {
    let passes = "pass_env = [\"HANDED_ON\"]";
    rehearsal()
        .replace(
            "[server]",
            "[server]\nprograms_token_env = \"PROGRAMS_TOKEN\"",
        )
        .replace("[python]", &format!("[python]\n{passes}"))
        .replace(
            "[flags]",
            &format!(
                "[python.env]\nDATABASE_PASSWORD = {VARIABLE:?}\n\
                 [pools.v2.env]\nOTHER_PASSWORD = {VARIABLE:?}\n\
                 [lms.default]\nmodel = \"openai/x\"\napi_key_env = \"PROVIDER_KEY\"\n\
                 [webhooks]\nsecret_env = \"WEBHOOK_SECRET\"\n[flags]"
            ),
        )
}

fn assert_none(place: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in {place}: {text}");
    }
}

/// Every file below the folder, but for the database's own files while it is open.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[tokio::test]
async fn no_answer_of_the_admin_routes_has_a_secret_in_it() {
    let mut house = House::with(&configuration());
    house.pass([
        ("PROGRAMS_TOKEN", PROGRAMS),
        ("PROVIDER_KEY", API_KEY),
        ("HANDED_ON", PASSED),
        ("WEBHOOK_SECRET", WEBHOOK),
    ]);
    house.open().await;
    let house = std::sync::Arc::new(house);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 2);
    house.start_migration().await;
    phase(&house, "complete").await;
    traffic.stop().await;
    let flags = json!({"set": {"shadow_percentage": 1}, "why": "for the audit"});
    let request = house.request("PATCH", "/admin/v1/flags").json(&flags);
    house.send(request).await.ok(200);
    let id = house.migration().await["id"].as_str().unwrap().to_owned();
    let mut told = String::new();
    for path in [
        "/admin/v1/pools",
        "/admin/v1/pools/v1",
        "/admin/v1/pools/v2",
        "/admin/v1/pool-configurations",
        "/admin/v1/pools/v1/configurations",
        "/admin/v1/pools/v2/configurations",
        "/admin/v1/preflight",
        "/admin/v1/events",
        "/admin/v1/audit",
        "/admin/v1/flags",
        "/admin/v1/flags/history",
        "/admin/v1/migrations",
        "/admin/v1/migrations/current",
        &format!("/admin/v1/migrations/{id}/events"),
        &format!("/admin/v1/migrations/{id}/report"),
        "/admin/v1/validations",
        "/admin/v1/shadow",
        "/v1/status",
        "/v1/programs",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        let answer = house.get(path).await;
        let text = answer.body.to_string();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert_none(path, &text);
        told.push_str(&text);
    }
    // What is looked for is really there to be told: the names of variables are.
    for name in ["DATABASE_PASSWORD", "OTHER_PASSWORD"] {
        assert!(told.contains(name), "nothing tells of {name}");
    }
    assert_none("the log", &house.log());
    // Neither what it keeps: the database, backups.
    let mut kept = Vec::new();
    files(&house.path("data"), &mut kept);
    assert!(kept.len() > 2, "{kept:?}");
    for path in kept {
        let bytes = match std::fs::read(&path) {
            // The database may be done with a file of its own meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            bytes => bytes.unwrap(),
        };
        assert_none(
            &path.display().to_string(),
            &String::from_utf8_lossy(&bytes),
        );
    }
}
