//! The recovery matrix: which strategy answers which class of failure, with how many retries and
//! what waits between them. Data, so that it can be configured and printed; performing it is the
//! user's part. Every class has exactly one rule.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Backoff, ErrorClass, InvalidConfig, Severity};

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// Try again at once.
    ImmediateRetry,
    /// Try again after the backoff's delay.
    BackoffRetry,
    /// Stop asking: open the circuit.
    CircuitBreak,
    /// Ask elsewhere.
    Failover,
    /// Give up and tell the caller.
    Abandon,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ImmediateRetry => "immediate_retry",
            Self::BackoffRetry => "backoff_retry",
            Self::CircuitBreak => "circuit_break",
            Self::Failover => "failover",
            Self::Abandon => "abandon",
        })
    }
}

/// One line of the matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How grave a failure of this class is.
    pub severity: Severity,
    /// What to do.
    pub strategy: Strategy,
    /// How many further tries are allowed.
    pub retries: u32,
    /// The waits between them, for a [`Recovery`](crate::Recovery). A [`Retry`](crate::Retry) has waits
    /// of its own. Checked with the rule, by the matrix, which names the class.
    #[serde(deserialize_with = "Backoff::unchecked")]
    pub backoff: Backoff,
}

/// The most further tries that a rule may allow.
const MOST_RETRIES: u32 = 100;

impl Rule {
    /// Checks that the rule can be followed.
    ///
    /// # Errors
    ///
    /// When the backoff is not valid, there are too many retries, or the strategy and the number of
    /// retries contradict one another.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.backoff.validate()?;
        let expected = match self.strategy {
            Strategy::Abandon if self.retries > 0 => "a class that is abandoned has 0 retries",
            Strategy::ImmediateRetry | Strategy::BackoffRetry | Strategy::Failover
                if self.retries == 0 =>
            {
                "a strategy that tries again needs at least 1; to give up at once is `abandon`"
            }
            Strategy::BackoffRetry if matches!(self.backoff, Backoff::None) => {
                return Err(InvalidConfig::new(
                    "backoff",
                    &"none",
                    "backoff_retry needs one; to wait for nothing is `immediate_retry`",
                ));
            }
            _ if self.retries > MOST_RETRIES => "it must be at most 100",
            _ => return Ok(()),
        };
        Err(InvalidConfig::new("retries", &self.retries, expected))
    }
}

/// A rule for every class. Deserializes from a map of class to rule; classes that are not named
/// keep their default, and every rule is checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<ErrorClass, Rule>",
    into = "BTreeMap<ErrorClass, Rule>"
)]
pub struct Matrix {
    rules: [Rule; ErrorClass::ALL.len()],
}

impl Matrix {
    /// The rule for `class`.
    #[must_use]
    pub fn lookup(&self, class: ErrorClass) -> &Rule {
        &self.rules[class as usize]
    }

    /// The same matrix with another rule for `class`.
    #[must_use]
    pub fn with(mut self, class: ErrorClass, rule: Rule) -> Self {
        self.rules[class as usize] = rule;
        self
    }

    /// The same rule for every class.
    #[must_use]
    pub fn uniform(rule: &Rule) -> Self {
        Self {
            rules: ErrorClass::ALL.map(|_| rule.clone()),
        }
    }

    /// Checks every rule.
    ///
    /// # Errors
    ///
    /// Names the first class whose rule cannot be followed, with the reason.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for (class, rule) in self.iter() {
            if let Err(error) = rule.validate() {
                return Err(InvalidConfig::new(
                    class.name(),
                    &error,
                    "every class needs a rule that can be followed",
                ));
            }
        }
        Ok(())
    }

    /// Every class with its rule.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorClass, &Rule)> {
        ErrorClass::ALL.into_iter().zip(&self.rules)
    }
}

impl Default for Matrix {
    fn default() -> Self {
        Self {
            rules: ErrorClass::ALL.map(default_rule),
        }
    }
}

fn default_rule(class: ErrorClass) -> Rule {
    use Severity::{Critical, Major, Minor};
    use Strategy::{Abandon, BackoffRetry, CircuitBreak, Failover, ImmediateRetry};

    let exponential = Backoff::default();
    let linear = match &exponential {
        Backoff::Exponential { base, cap, .. } => Backoff::linear(*base, *cap),
        other => other.clone(),
    };
    let (severity, strategy, retries, backoff) = match class {
        ErrorClass::Initialization => (Critical, CircuitBreak, 3, exponential),
        ErrorClass::Connection => (Major, BackoffRetry, 5, exponential),
        ErrorClass::Communication => (Major, ImmediateRetry, 3, linear),
        ErrorClass::Timeout => (Major, BackoffRetry, 2, exponential),
        ErrorClass::Resource => (Critical, CircuitBreak, 1, Backoff::None),
        ErrorClass::HealthCheck => (Minor, BackoffRetry, 3, linear),
        ErrorClass::Session => (Minor, ImmediateRetry, 2, Backoff::None),
        ErrorClass::Python => (Major, Failover, 1, Backoff::None),
        ErrorClass::System => (Critical, Abandon, 0, Backoff::None),
        // No retry makes wrong input right, and the client of the model has already retried what
        // its provider may answer yet: a retry of ours would multiply the load on a provider that
        // has just said that it has too much.
        ErrorClass::Caller | ErrorClass::Provider => (Minor, Abandon, 0, Backoff::None),
    };
    Rule {
        severity,
        strategy,
        retries,
        backoff,
    }
}

impl TryFrom<BTreeMap<ErrorClass, Rule>> for Matrix {
    type Error = InvalidConfig;

    fn try_from(rules: BTreeMap<ErrorClass, Rule>) -> Result<Self, InvalidConfig> {
        let matrix = rules
            .into_iter()
            .fold(Self::default(), |matrix, (class, rule)| {
                matrix.with(class, rule)
            });
        matrix.validate()?;
        Ok(matrix)
    }
}

impl From<Matrix> for BTreeMap<ErrorClass, Rule> {
    fn from(matrix: Matrix) -> Self {
        matrix
            .iter()
            .map(|(class, rule)| (class, rule.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_designs_table() {
        let table: Vec<String> = Matrix::default()
            .iter()
            .map(|(class, rule)| {
                let Rule {
                    severity,
                    strategy,
                    retries,
                    backoff,
                } = rule;
                format!("{class} {severity} {strategy} {retries} {}", backoff.name())
            })
            .collect();
        assert_eq!(
            table,
            [
                "initialization critical circuit_break 3 exponential",
                "connection major backoff_retry 5 exponential",
                "communication major immediate_retry 3 linear",
                "timeout major backoff_retry 2 exponential",
                "resource critical circuit_break 1 none",
                "health_check minor backoff_retry 3 linear",
                "session minor immediate_retry 2 none",
                "python major failover 1 none",
                "system critical abandon 0 none",
                "caller minor abandon 0 none",
                "provider minor abandon 0 none",
            ]
        );
    }

    #[test]
    fn configuration_replaces_single_rules() {
        let matrix: Matrix = serde_json::from_str(
            r#"{"timeout":{"severity":"minor","strategy":"failover","retries":1,
                "backoff":{"kind":"none"}}}"#,
        )
        .unwrap();
        assert_eq!(
            matrix.lookup(ErrorClass::Timeout).strategy,
            Strategy::Failover
        );
        let default = Matrix::default();
        for class in ErrorClass::ALL
            .into_iter()
            .filter(|class| *class != ErrorClass::Timeout)
        {
            assert_eq!(matrix.lookup(class), default.lookup(class), "{class}");
        }
        let json = serde_json::to_string(&matrix).unwrap();
        assert_eq!(serde_json::from_str::<Matrix>(&json).unwrap(), matrix);
    }

    #[test]
    fn an_unknown_class_is_refused() {
        let rule =
            r#"{"severity":"minor","strategy":"abandon","retries":0,"backoff":{"kind":"none"}}"#;
        let error = serde_json::from_str::<Matrix>(&format!(r#"{{"timeouts":{rule}}}"#));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("unknown variant `timeouts`")
        );
    }

    #[test]
    fn a_rule_that_cannot_be_followed_is_refused_with_its_class() {
        let rule = |strategy: &str, retries: u32, backoff: &str| {
            let json = format!(
                r#"{{"timeout":{{"severity":"minor","strategy":"{strategy}","retries":{retries},
                    "backoff":{backoff}}}}}"#
            );
            serde_json::from_str::<Matrix>(&json).map_err(|error| error.to_string())
        };
        let (none, default) = (r#"{"kind":"none"}"#, r#"{"kind":"exponential"}"#);
        assert!(rule("backoff_retry", 2, default).is_ok());
        for (strategy, retries, backoff, reason) in [
            (
                "abandon",
                1,
                none,
                "a class that is abandoned has 0 retries",
            ),
            ("failover", 0, none, "needs at least 1"),
            ("backoff_retry", 1, none, "backoff_retry needs one"),
            ("immediate_retry", 101, none, "at most 100"),
            (
                "backoff_retry",
                1,
                r#"{"kind":"linear","base":"2m"}"#,
                "backoff base is 2m",
            ),
        ] {
            let error = rule(strategy, retries, backoff).unwrap_err();
            assert!(
                error.contains(reason) && error.contains("timeout"),
                "{error}"
            );
        }
        assert_eq!(Matrix::default().validate(), Ok(()));
    }
}
