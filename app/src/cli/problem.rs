//! Turns a refused request's problem document (RFC 9457) into an error line and hints.

use serde::Deserialize;
use serde_json::Value;

use super::exit::{Exit, Failure};

/// The members that are read; others are left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
}

/// The failure that an answer outside 200..300 stands for.
pub(crate) fn failure(status: u16, body: &Value) -> Failure {
    let problem = Problem::deserialize(body).unwrap_or_default();
    let exit = match status {
        // Too slow, too many: nothing is wrong with what was asked for.
        408 | 429 => Exit::Failed,
        400..500 => Exit::Refused,
        _ => Exit::Failed,
    };
    let message = match (problem.title, problem.detail) {
        (_, Some(detail)) if !detail.is_empty() => detail,
        (Some(title), _) if !title.is_empty() => title,
        _ => format!("the server answered {status} and did not say why"),
    };
    let mut failure = Failure::new(exit, message);
    match in_our_words(name(body)) {
        Some(hint) => failure = failure.hint(hint),
        None => failure.hints.extend(problem.hint),
    }
    // Only where the log says more than the answer does.
    if matches!(status, 500 | 502)
        && let Some(id) = problem.request_id
    {
        failure = failure.hint(format_args!(
            "the server's log says more under request {id}"
        ));
    }
    failure
}

/// The short name of a problem, such as `no-migration`; empty where the answer is no problem.
pub(crate) fn name(body: &Value) -> &str {
    let kind = body.get("type").and_then(Value::as_str).unwrap_or("");
    kind.strip_prefix("urn:dspex:problem:").unwrap_or("")
}

/// The hint for a kind of problem, where the server's own speaks of requests and headers: a user of
/// this client writes commands.
fn in_our_words(name: &str) -> Option<&'static str> {
    Some(match name {
        "unauthorized" => {
            "set DSPEX_TOKEN (or --token) to the admin token, which `dspex serve` printed at its first start"
        }
        "unknown-program" => "see the programs with `dspex programs list`",
        "unknown-pool" => "see the pools with `dspex pools`",
        "unknown-circuit" => "see the circuits with `dspex circuits list`",
        "session-required" => "name the caller's session with --session",
        "unknown-flag" => "see the flags with `dspex flags list`",
        "revision-conflict" => "read the flags again with `dspex flags list`, then decide again",
        "program-timeout" => "give the call more time with --call-timeout",
        "no-migration" => "start one with `dspex migrate start --why '...'`",
        "unknown-migration" => "see the migrations with `dspex migrate history`",
        "migration-running" => {
            "follow it with `dspex migrate watch`, or end it with `dspex migrate rollback`"
        }
        "starting" => "`dspex health` tells when it is ready",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_document_becomes_an_error_and_its_hint() {
        let body = json!({"type": "/problems/x", "title": "Conflict", "status": 409,
            "detail": "the flags are at revision 7, not 3", "hint": "read them again", "actual": 7});
        let failure = failure(409, &body);
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.message, "the flags are at revision 7, not 3");
        assert_eq!(failure.hints, ["read them again"]);
    }

    #[test]
    fn what_is_missing_from_the_document_is_made_up_for() {
        let unnamed = failure(500, &Value::Null);
        assert_eq!(unnamed.exit, Exit::Failed);
        assert!(unnamed.message.contains("500"), "{}", unnamed.message);
        let kind = "urn:dspex:problem:unauthorized";
        let token = failure(401, &json!({"type": kind, "hint": "send a header"}));
        assert_eq!(token.hints.len(), 1);
        assert!(token.hints[0].contains("DSPEX_TOKEN"));
    }
}
