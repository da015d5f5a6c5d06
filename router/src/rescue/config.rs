//! What is done about a call that a pool failed: a table for each of the two rules, and deadlines.
//!
//! The tables are the breaker's matrices, but not with its default, which is a table for whoever repeats
//! its own calls: here nothing waits, because a second attempt goes to another pool or another worker.
//! What is not named in a table is as the defaults here say.
//!
//! Invariant: what [`RescueConfig::validate`] accepts can be followed to the letter.

use std::collections::BTreeMap;
use std::time::Duration;

use dspex_breaker::{
    Backoff, Deadlines, ErrorClass, Matrix, RecoveryConfig, Rule, Severity, Strategy,
};
use serde::{Deserialize, Deserializer, Serialize};

/// The longest that a call may take at all, so that its own deadline comes first.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What is done about which failure, for how long, and how much of it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RescueConfig {
    /// What is done about a call that the candidate failed: `failover` asks stable, once; `circuit_break`
    /// opens the candidate's circuit at the first such failure and asks stable where it has a retry;
    /// `abandon` gives the caller the error.
    #[serde(deserialize_with = "failover_rules")]
    pub failover: Matrix,
    /// What is done about a call under which stable lost a worker: `immediate_retry` asks another worker
    /// of it; `circuit_break` does so as often as it has retries, and opens stable's circuit then;
    /// `abandon` gives the caller the error.
    #[serde(deserialize_with = "again_rules")]
    pub again: Matrix,
    /// How long after a call's first failure another attempt may begin, by the gravest of its failures.
    pub deadlines: Deadlines,
    /// How many calls of each table are listed while they are under way, and how many that have ended.
    pub listed: usize,
}

impl Default for RescueConfig {
    fn default() -> Self {
        Self {
            failover: failover_matrix(),
            again: again_matrix(),
            deadlines: Deadlines {
                minor: LONGEST,
                major: LONGEST,
                critical: LONGEST,
            },
            listed: 32,
        }
    }
}

impl RescueConfig {
    /// Checks every setting: which one is wrong, its value, and what would be accepted.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        for (class, rule) in self.failover.iter() {
            let accepted = match rule.strategy {
                Strategy::Failover => rule.retries == 1,
                Strategy::CircuitBreak => rule.retries <= 1,
                Strategy::Abandon => rule.retries == 0,
                _ => false,
            };
            check(
                "recovery.failover",
                class,
                rule,
                accepted,
                "`failover` with 1 retry, `circuit_break` with 0 or 1, or `abandon` with 0, and the backoff \
                 `none`: stable is asked once and at once, and after it there is nobody",
            )?;
        }
        for (class, rule) in self.again.iter() {
            let accepted = match rule.strategy {
                Strategy::ImmediateRetry => (1..=2).contains(&rule.retries),
                Strategy::CircuitBreak => rule.retries <= 1,
                Strategy::Abandon => rule.retries == 0,
                _ => false,
            };
            check(
                "recovery.again",
                class,
                rule,
                accepted,
                "`immediate_retry` with 1 or 2 retries, `circuit_break` with 0 or 1, or `abandon` with 0, and \
                 the backoff `none`: another worker is there, or is not",
            )?;
        }
        let checked = self.recovery(&self.again).validate();
        checked.map_err(|error| {
            let setting = match error.setting {
                "listed" => "recovery.listed",
                _ => "recovery.deadlines",
            };
            (setting, error.value, error.expected)
        })
    }

    /// What the breaker's crate needs for one of the tables.
    pub(super) fn recovery(&self, matrix: &Matrix) -> RecoveryConfig {
        RecoveryConfig {
            matrix: matrix.clone(),
            deadlines: self.deadlines,
            listed: self.listed,
        }
    }
}

fn check(
    setting: &'static str,
    class: ErrorClass,
    rule: &Rule,
    accepted: bool,
    expected: &'static str,
) -> Result<(), (&'static str, String, &'static str)> {
    if accepted && rule.backoff == Backoff::None {
        return Ok(());
    }
    let Rule {
        strategy,
        retries,
        backoff,
        ..
    } = rule;
    let backoff = backoff.name();
    let value = format!("{class}: `{strategy}`, {retries} retries, backoff `{backoff}`");
    Err((setting, value, expected))
}

/// Whatever is the candidate's fault is stable's to answer. What is the caller's or the provider's
/// would end the same there.
fn failover_matrix() -> Matrix {
    let rule = |strategy, retries| Rule {
        severity: Severity::Major,
        strategy,
        retries,
        backoff: Backoff::None,
    };
    Matrix::uniform(&rule(Strategy::Failover, 1))
        .with(ErrorClass::Caller, rule(Strategy::Abandon, 0))
        .with(ErrorClass::Provider, rule(Strategy::Abandon, 0))
}

/// Another worker may answer where one was lost: its wire broke, it hung, or it spoke nonsense. Twice,
/// because workers that are killed together are met one after the other.
fn again_matrix() -> Matrix {
    let rule = |strategy, retries| Rule {
        severity: Severity::Minor,
        strategy,
        retries,
        backoff: Backoff::None,
    };
    [
        ErrorClass::Connection,
        ErrorClass::HealthCheck,
        ErrorClass::Communication,
    ]
    .into_iter()
    .fold(
        Matrix::uniform(&rule(Strategy::Abandon, 0)),
        |matrix, class| matrix.with(class, rule(Strategy::ImmediateRetry, 2)),
    )
}

fn failover_rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Matrix, D::Error> {
    over(failover_matrix(), deserializer)
}

fn again_rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Matrix, D::Error> {
    over(again_matrix(), deserializer)
}

/// The rules that are named, over those that are not.
fn over<'de, D: Deserializer<'de>>(default: Matrix, deserializer: D) -> Result<Matrix, D::Error> {
    let rules = BTreeMap::<ErrorClass, Rule>::deserialize(deserializer)?;
    Ok(rules
        .into_iter()
        .fold(default, |matrix, (class, rule)| matrix.with(class, rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> RescueConfig {
        serde_json::from_str(json).unwrap()
    }

    fn rule(strategy: &str, retries: u32, backoff: &str) -> String {
        format!(
            r#"{{"severity":"major","strategy":"{strategy}","retries":{retries},"backoff":{backoff}}}"#
        )
    }

    #[test]
    fn a_table_keeps_its_own_defaults_for_what_it_does_not_name() {
        let abandon = rule("abandon", 0, r#"{"kind":"none"}"#);
        let config = parse(&format!(r#"{{"failover":{{"timeout":{abandon}}}}}"#));
        config.validate().unwrap();
        let default = RescueConfig::default();
        for (class, rule) in config.failover.iter() {
            if class == ErrorClass::Timeout {
                assert_eq!(rule.strategy, Strategy::Abandon);
            } else {
                assert_eq!(rule, default.failover.lookup(class), "{class}");
            }
        }
        assert_eq!(config.again, default.again);
        assert_eq!(parse("{}"), default);
        let text = serde_json::to_string(&default).unwrap();
        assert_eq!(parse(&text), default);
    }

    #[test]
    fn what_the_router_cannot_follow_is_refused_by_table_and_class() {
        let none = r#"{"kind":"none"}"#;
        let wait = r#"{"kind":"linear"}"#;
        for (table, strategy, retries, backoff) in [
            ("failover", "failover", 2, none),
            ("failover", "failover", 1, wait),
            ("failover", "immediate_retry", 1, none),
            ("failover", "backoff_retry", 1, wait),
            ("failover", "circuit_break", 2, none),
            ("failover", "abandon", 1, none),
            ("again", "failover", 1, none),
            ("again", "backoff_retry", 1, wait),
            ("again", "immediate_retry", 3, none),
            ("again", "immediate_retry", 1, wait),
            ("again", "circuit_break", 2, none),
        ] {
            let text = rule(strategy, retries, backoff);
            let config = parse(&format!(r#"{{"{table}":{{"resource":{text}}}}}"#));
            let (setting, value, _) = config.validate().unwrap_err();
            assert_eq!(setting, format!("recovery.{table}"), "{text}");
            assert!(value.starts_with("resource: "), "{value}");
        }
        for (table, strategy, retries) in [
            ("failover", "circuit_break", 0),
            ("failover", "circuit_break", 1),
            ("failover", "abandon", 0),
            ("again", "circuit_break", 1),
            ("again", "immediate_retry", 1),
        ] {
            let text = rule(strategy, retries, none);
            let config = parse(&format!(r#"{{"{table}":{{"resource":{text}}}}}"#));
            assert_eq!(config.validate(), Ok(()), "{text}");
        }
        let mut config = RescueConfig::default();
        config.deadlines.minor = Duration::ZERO;
        assert_eq!(config.validate().unwrap_err().0, "recovery.deadlines");
        let read = serde_json::from_str::<RescueConfig>(r#"{"deadlines":{"minor":"0s"}}"#);
        let error = read.unwrap_err().to_string();
        assert!(error.contains("minor is 0s"), "{error}");
        let listed = parse(r#"{"listed":5000}"#);
        assert_eq!(listed.validate().unwrap_err().0, "recovery.listed");
    }
}
