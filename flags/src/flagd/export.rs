//! From a snapshot to flagd's definitions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{FlagdError, SCHEMA};
use crate::rules::{Compiled, Rules};
use crate::snapshot::Snapshot;
use crate::value::FlagValue;

/// All flags of a snapshot as flagd's definitions: the document that flagd reads from a file.
///
/// Prerequisites are resolved while exporting: a definition stands for this revision of all flags.
///
/// # Errors
///
/// [`FlagdError`] for a flag that requires another whose answer hangs on a hash: flagd can hash a key
/// only together with the flag that it evaluates.
pub fn export(snapshot: &Snapshot) -> Result<Value, FlagdError> {
    let mut flags = Map::new();
    for place in 0..snapshot.values.len() {
        let declaration = &snapshot.declared.all()[place];
        let mut definition = Export::of(snapshot, place).definition()?;
        definition["metadata"] = json!({
            "description": declaration.description,
            "owner": declaration.owner,
            "revision": snapshot.revision(),
        });
        flags.insert(declaration.key.to_string(), definition);
    }
    Ok(json!({"$schema": SCHEMA, "flags": flags}))
}

/// Whether a flag is on, as far as that is known while exporting.
enum On {
    Always(bool),
    /// A JsonLogic expression.
    Where(Value),
}

struct Export<'a> {
    snapshot: &'a Snapshot,
    place: usize,
    value: &'a FlagValue,
    compiled: Option<&'a Compiled>,
    rules: Rules,
}

impl<'a> Export<'a> {
    fn of(snapshot: &'a Snapshot, place: usize) -> Self {
        let in_force = snapshot.rules[place].as_deref();
        Self {
            snapshot,
            place,
            value: &snapshot.values[place],
            compiled: in_force.map(|rules| &rules.compiled),
            rules: in_force.map_or_else(Rules::default, |rules| Rules::clone(&rules.set)),
        }
    }

    fn failed(&self, problem: String) -> FlagdError {
        let key = self.snapshot.declared.all()[self.place].key.to_string();
        FlagdError { key, problem }
    }

    fn definition(&self) -> Result<Value, FlagdError> {
        let mut variants = Map::new();
        if let Some(compiled) = self.compiled {
            for (name, value) in compiled
                .variants
                .names
                .iter()
                .zip(&compiled.variants.values)
            {
                variants.insert(name.to_string(), json!(value));
            }
        }
        let (off, default, on) = match self.value {
            FlagValue::Bool(_) | FlagValue::Percent(_) => {
                let on = named(&mut variants, "on", json!(true));
                let off = named(&mut variants, "off", json!(false));
                let default = match self.value {
                    FlagValue::Bool(true) => on.clone(),
                    _ => off.clone(),
                };
                (off, default, on)
            }
            value => {
                let fallback = &self.snapshot.declared.all()[self.place].default;
                let default = named(&mut variants, "value", json!(value));
                let off = match fallback == value {
                    true => default.clone(),
                    false => named(&mut variants, "off", json!(fallback)),
                };
                (off, default.clone(), default)
            }
        };
        // From the last rule to the first, each around the ones after it.
        let mut targeting = self.by_hash(&on, &off, &default);
        for (key, variant) in self.rules.pins.iter().rev() {
            targeting = either(&is_one_of([key]), &json!(variant), &targeting);
        }
        if !self.rules.allow.is_empty() && !self.is_zero() {
            targeting = either(&is_one_of(&self.rules.allow), &json!(on), &targeting);
        }
        if !self.rules.deny.is_empty() {
            targeting = either(&is_one_of(&self.rules.deny), &json!(off), &targeting);
        }
        let mut default = default;
        match self.prerequisites()? {
            On::Always(true) => {}
            On::Always(false) => (targeting, default) = (json!(off), off),
            On::Where(condition) => targeting = either(&condition, &targeting, &json!(off)),
        }
        let mut definition = json!({
            "state": "ENABLED",
            "variants": variants,
            "defaultVariant": default,
        });
        match targeting {
            // The same for everybody.
            Value::String(variant) => definition["defaultVariant"] = variant.into(),
            targeting => definition["targeting"] = targeting,
        }
        Ok(definition)
    }

    fn is_zero(&self) -> bool {
        matches!(self.value, FlagValue::Percent(share) if share.basis_points() == 0)
    }

    /// What is left where no list decides.
    fn by_hash(&self, on: &str, off: &str, default: &str) -> Value {
        if let FlagValue::Percent(share) = self.value {
            return match share.basis_points() {
                0 => json!(off),
                10_000 => json!(on),
                points => json!({"fractional": [[on, points], [off, 10_000 - points]]}),
            };
        }
        // Variants may be there for pinned keys alone.
        if self.rules.variants.iter().all(|part| part.weight == 0) {
            return json!(default);
        }
        let parts = self.rules.variants.iter();
        let parts: Vec<Value> = parts.map(|part| json!([part.name, part.weight])).collect();
        json!({"fractional": parts})
    }

    /// The kill switch and the flags that are required, with those that they require. A flag is on
    /// where all of them are, so each is said once, however many require it.
    fn prerequisites(&self) -> Result<On, FlagdError> {
        if self.rules.killed {
            return Ok(On::Always(false));
        }
        let mut conditions = Vec::new();
        let mut refused = None;
        for required in self.required() {
            match Export::of(self.snapshot, required).on() {
                Ok(On::Always(true)) => {}
                // Whatever the others are.
                Ok(On::Always(false)) => return Ok(On::Always(false)),
                Ok(On::Where(condition)) => conditions.push(condition),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        Ok(match conditions.len() {
            0 => On::Always(true),
            1 => On::Where(conditions.remove(0)),
            _ => On::Where(json!({"and": conditions})),
        })
    }

    /// The places of all flags that this one requires, through others too.
    fn required(&self) -> Vec<usize> {
        let of = |place: usize| match &self.snapshot.rules[place] {
            Some(rules) => &*rules.compiled.requires,
            None => &[],
        };
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut rest: Vec<usize> = of(self.place).iter().rev().copied().collect();
        while let Some(place) = rest.pop() {
            if seen.insert(place) {
                found.push(place);
                rest.extend(of(place).iter().rev());
            }
        }
        found
    }

    /// Whether this flag is on, for another that requires it, as far as its own prerequisites are.
    fn on(&self) -> Result<On, FlagdError> {
        if self.rules.killed {
            return Ok(On::Always(false));
        }
        let mut on = match self.value {
            FlagValue::Bool(on) if self.rules.variants.is_empty() => json!(on),
            FlagValue::Percent(share) if [0, 10_000].contains(&share.basis_points()) => {
                json!(share.basis_points() > 0)
            }
            _ => {
                return Err(self.failed(
                    "is required by another and hangs on a hash, which flagd cannot say".to_owned(),
                ));
            }
        };
        if !self.rules.allow.is_empty() && !self.is_zero() && on != json!(true) {
            on = either(&is_one_of(&self.rules.allow), &json!(true), &on);
        }
        if !self.rules.deny.is_empty() && on != json!(false) {
            on = either(&is_one_of(&self.rules.deny), &json!(false), &on);
        }
        Ok(match on {
            Value::Bool(on) => On::Always(on),
            expression => On::Where(expression),
        })
    }
}

/// Adds a variant under that name, or the next that is free.
fn named(variants: &mut Map<String, Value>, name: &str, value: Value) -> String {
    let mut name = name.to_owned();
    while variants.get(&name).is_some_and(|taken| *taken != value) {
        name.push('_');
    }
    variants.insert(name.clone(), value);
    name
}

fn is_one_of(keys: impl serde::Serialize) -> Value {
    json!({"in": [{"var": "targetingKey"}, keys]})
}

fn either(condition: &Value, then: &Value, otherwise: &Value) -> Value {
    if then == otherwise {
        return then.clone();
    }
    json!({"if": [condition, then, otherwise]})
}
