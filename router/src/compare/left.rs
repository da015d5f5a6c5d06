//! Whether two answers can say anything of one another, once what says nothing is left out.
//!
//! Invariant: only what somebody hides can leave nothing: an answer without values, and one that the
//! rules do not look at, is compared as it is.

use std::ops::ControlFlow;

use serde_json::{Map, Value};

use super::path::{push_index, push_key, without_indices};
use super::{Rules, Tier};

/// Whether every value of stable's answer that the rules look at is at a place that `hides` names,
/// so that nothing is left that was compared. Places are as [`super::Difference::place`] has them.
pub(crate) fn nothing_left(
    rules: &Rules,
    stable: &Map<String, Value>,
    hides: impl Fn(&str, Tier) -> bool,
) -> bool {
    let mut look = Look {
        rules,
        hides,
        path: String::new(),
        hidden: false,
    };
    look.object(stable).is_continue() && look.hidden
}

struct Look<'a, F> {
    rules: &'a Rules,
    hides: F,
    path: String,
    /// Whether a value was seen that is hidden.
    hidden: bool,
}

impl<F: Fn(&str, Tier) -> bool> Look<'_, F> {
    fn object(&mut self, object: &Map<String, Value>) -> ControlFlow<()> {
        for (key, value) in object {
            let before = self.path.len();
            push_key(&mut self.path, key);
            self.value(value)?;
            self.path.truncate(before);
        }
        ControlFlow::Continue(())
    }

    /// Breaks where something is left.
    fn value(&mut self, value: &Value) -> ControlFlow<()> {
        if self.rules.ignores(&self.path) {
            return ControlFlow::Continue(());
        }
        let tier = match value {
            Value::Object(inner) if !inner.is_empty() => return self.object(inner),
            Value::Array(inner) if !inner.is_empty() => {
                for (index, value) in inner.iter().enumerate() {
                    let before = self.path.len();
                    push_index(&mut self.path, index);
                    self.value(value)?;
                    self.path.truncate(before);
                }
                return ControlFlow::Continue(());
            }
            Value::String(_) | Value::Bool(_) => Tier::Text,
            Value::Number(_) => Tier::Numbers,
            Value::Null | Value::Object(_) | Value::Array(_) => Tier::Fields,
        };
        if !self.rules.looks(tier) {
            return ControlFlow::Continue(());
        }
        if !(self.hides)(&without_indices(&self.path), tier) {
            return ControlFlow::Break(());
        }
        self.hidden = true;
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::RulesConfig;

    fn left(answer: &Value, noise: &[&str]) -> bool {
        let rules = Rules::new(&RulesConfig::default()).unwrap();
        let hides = |place: &str, _| noise.contains(&place);
        !nothing_left(&rules, answer.as_object().unwrap(), hides)
    }

    #[test]
    fn one_place_that_is_compared_is_enough() {
        let answer = json!({"answer": "Paris", "now": 5, "usage": {"total_tokens": 7}});
        assert!(left(&answer, &[]));
        assert!(left(&answer, &["/now"]));
        assert!(!left(&answer, &["/now", "/answer"]), "usage is ignored");
        let list = json!({"items": [{"id": 1, "at": 2}, {"id": 3}]});
        assert!(left(&list, &["/items/*/id"]));
        assert!(!left(&list, &["/items/*/id", "/items/*/at"]));
    }

    #[test]
    fn what_nobody_hides_is_compared_as_it_is() {
        assert!(left(&json!({}), &["/answer"]));
        assert!(left(&json!({"usage": {"total_tokens": 7}}), &["/answer"]));
        assert!(left(
            &json!({"answer": "Paris", "found": null}),
            &["/answer"]
        ));
        let form = Rules::new(&RulesConfig::default()).unwrap().form_only();
        let answer = json!({"answer": "Paris"});
        let hidden = nothing_left(&form, answer.as_object().unwrap(), |_, _| true);
        assert!(!hidden, "whoever compares the form alone has it compared");
    }
}
