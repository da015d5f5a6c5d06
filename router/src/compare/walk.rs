//! Two answers side by side, field by field.
//!
//! Invariant: ends after [`MOST`] differences. The depth is bounded by whoever parsed the answers:
//! JSON from a worker is at most 128 levels deep.

use serde_json::{Map, Number, Value};

use super::path::{push_index, push_key};
use super::{Difference, MOST, Rules, Tier, text};

pub(super) fn look(
    rules: &Rules,
    stable: &Map<String, Value>,
    candidate: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let mut walk = Walk {
        rules,
        path: String::new(),
        most: found.len() + MOST,
        found,
    };
    walk.objects(stable, candidate);
}

struct Walk<'a> {
    rules: &'a Rules,
    path: String,
    /// How many differences are enough.
    most: usize,
    found: &'a mut Vec<Difference>,
}

impl Walk<'_> {
    fn objects(&mut self, stable: &Map<String, Value>, candidate: &Map<String, Value>) {
        for (key, ours) in stable {
            self.at_key(key, |walk| match candidate.get(key) {
                Some(theirs) => walk.values(ours, theirs),
                None => walk.tell(Tier::Fields, || {
                    (
                        "the candidate has no such field".to_owned(),
                        Some(ours),
                        None,
                    )
                }),
            });
        }
        for (key, theirs) in candidate {
            if !stable.contains_key(key) {
                self.at_key(key, |walk| {
                    walk.tell(Tier::Fields, || {
                        ("stable has no such field".to_owned(), None, Some(theirs))
                    });
                });
            }
        }
    }

    fn lists(&mut self, stable: &[Value], candidate: &[Value]) {
        if stable.len() != candidate.len() {
            let what = format!(
                "stable's list has {} elements, the candidate's {}",
                stable.len(),
                candidate.len()
            );
            self.tell(Tier::Fields, || (what, None, None));
        }
        for (index, (ours, theirs)) in stable.iter().zip(candidate).enumerate() {
            let before = self.path.len();
            push_index(&mut self.path, index);
            self.look_at(|walk| walk.values(ours, theirs));
            self.path.truncate(before);
            if self.found.len() >= self.most {
                return;
            }
        }
    }

    fn values(&mut self, stable: &Value, candidate: &Value) {
        let both = || (Some(stable), Some(candidate));
        let differ = |what: &str| {
            let (ours, theirs) = both();
            (what.to_owned(), ours, theirs)
        };
        match (stable, candidate) {
            (Value::Object(ours), Value::Object(theirs)) => self.objects(ours, theirs),
            (Value::Array(ours), Value::Array(theirs)) => self.lists(ours, theirs),
            (Value::String(ours), Value::String(theirs)) => {
                if self.rules.looks(Tier::Text) && !text::same(self.rules, ours, theirs) {
                    self.tell(Tier::Text, || differ("the words differ"));
                }
            }
            (Value::Number(ours), Value::Number(theirs)) => {
                if !self.close(ours, theirs) {
                    self.tell(Tier::Numbers, || differ("the numbers differ"));
                }
            }
            (Value::Bool(ours), Value::Bool(theirs)) => {
                if ours != theirs {
                    self.tell(Tier::Text, || differ("the truth values differ"));
                }
            }
            (Value::Null, Value::Null) => {}
            _ => {
                let what = format!(
                    "stable's value is {}, the candidate's {}",
                    kind(stable),
                    kind(candidate)
                );
                let (ours, theirs) = both();
                self.tell(Tier::Fields, || (what, ours, theirs));
            }
        }
    }

    fn close(&self, ours: &Number, theirs: &Number) -> bool {
        // Beyond 2^53 two integers that differ are one floating point number.
        let whole = |number: &Number| number.as_i128();
        if let (Some(one), Some(other)) = (whole(ours), whole(theirs))
            && one != other
            && one.abs_diff(other) < 1 << 53
            && ours.as_f64() == theirs.as_f64()
        {
            let tolerance = self.rules.tolerance;
            return tolerance.allows(0.0, one.abs_diff(other) as f64) || tolerance.relative > 0.0;
        }
        match (ours.as_f64(), theirs.as_f64()) {
            (Some(one), Some(other)) => self.rules.tolerance.allows(one, other),
            _ => ours == theirs,
        }
    }

    fn at_key(&mut self, key: &str, look: impl FnOnce(&mut Self)) {
        if self.found.len() >= self.most {
            return;
        }
        let before = self.path.len();
        push_key(&mut self.path, key);
        self.look_at(look);
        self.path.truncate(before);
    }

    fn look_at(&mut self, look: impl FnOnce(&mut Self)) {
        if !self.rules.ignores(&self.path) {
            look(self);
        }
    }

    fn tell<'v>(
        &mut self,
        rule: Tier,
        said: impl FnOnce() -> (String, Option<&'v Value>, Option<&'v Value>),
    ) {
        if self.rules.looks(rule) {
            let (what, stable, candidate) = said();
            let told = Difference::new(&self.path, rule, what, stable, candidate);
            self.found.push(told);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
