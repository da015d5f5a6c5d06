//! From flagd's definitions to values and rules.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::FlagdError;
use crate::flag::Declaration;
use crate::percent::Percent;
use crate::rules::{Rules, Variant, rules_key};
use crate::value::{FlagValue, Kind};

/// What a write must set so that the declared flags are as flagd's definitions say; both the value and
/// the rules of each flag that is defined.
///
/// Understood is what [`super::export`] writes, and what people write by hand in the same forms: a
/// fixed variant, `fractional` by targetingKey, and around them `if` with targetingKey `in` a list. Of
/// two lists that name a key the first decides, as in flagd.
///
/// # Errors
///
/// [`FlagdError`] for a flag that is not declared, for targeting in another form, and for keys that are
/// on in a share that is off for all others: here nobody is within 0 %.
pub fn import(
    declarations: &[Declaration],
    definitions: &Value,
) -> Result<Vec<(String, FlagValue)>, FlagdError> {
    let Some(flags) = definitions.get("flags").and_then(Value::as_object) else {
        return Err(FlagdError {
            key: String::new(),
            problem: "is not there: the document has no object `flags`".to_owned(),
        });
    };
    let mut set = Vec::with_capacity(2 * flags.len());
    for (key, definition) in flags {
        let failed = |problem: String| FlagdError {
            key: key.clone(),
            problem,
        };
        let declared = declarations.iter().find(|declared| declared.key == *key);
        let declared = declared.ok_or_else(|| failed("is not declared here".to_owned()))?;
        let (value, rules) = Definition::of(declared.kind(), definition)
            .and_then(Definition::read)
            .map_err(failed)?;
        set.push((key.clone(), value));
        set.push((rules_key(key), rules.into()));
    }
    Ok(set)
}

struct Definition<'a> {
    kind: Kind,
    variants: &'a Map<String, Value>,
    default: &'a str,
    targeting: Option<&'a Value>,
    disabled: bool,
}

impl<'a> Definition<'a> {
    fn of(kind: Kind, definition: &'a Value) -> Result<Self, String> {
        let variants = definition.get("variants").and_then(Value::as_object);
        let targeting = definition.get("targeting");
        let default = definition.get("defaultVariant").and_then(Value::as_str);
        Ok(Self {
            kind,
            variants: variants.ok_or("has no `variants`")?,
            default: default
                .ok_or("has no `defaultVariant`: what it is then is the caller's to say")?,
            targeting: targeting.filter(|targeting| {
                targeting
                    .as_object()
                    .is_some_and(|members| !members.is_empty())
            }),
            disabled: definition.get("state").and_then(Value::as_str) == Some("DISABLED"),
        })
    }

    fn read(self) -> Result<(FlagValue, Rules), String> {
        let mut rules = Rules {
            killed: self.disabled,
            ..Rules::default()
        };
        let mut rest = self.targeting;
        while let Some(branches) = rest.and_then(|rest| rest.get("if")) {
            let [condition, then, otherwise] = branches.as_array().map_or(&[][..], Vec::as_slice)
            else {
                return Err("has an `if` that is not of three parts".to_owned());
            };
            let mut keys = keys(condition)?;
            keys.retain(|key| !is_listed(&rules, key));
            let variant = then.as_str().ok_or_else(|| other(then))?;
            self.list(&mut rules, keys, variant)?;
            rest = Some(otherwise);
        }
        let value = match rest {
            None => self.fixed(self.default)?,
            Some(Value::String(variant)) => self.fixed(variant)?,
            Some(rest) => {
                let parts = rest.get("fractional").and_then(Value::as_array);
                self.divide(&mut rules, parts.ok_or_else(|| other(rest))?)?
            }
        };
        if value == FlagValue::Percent(Percent::ZERO)
            && let Some(key) = rules.allow.first()
        {
            let key = crate::error::shown(key);
            return Err(format!(
                "is on for `{key}` and off for who is on no list: here nobody is within a share of 0 %, and \
                 a switch can say it"
            ));
        }
        Ok((value, rules))
    }

    /// Keys that are all given one variant.
    fn list(&self, rules: &mut Rules, keys: BTreeSet<String>, variant: &str) -> Result<(), String> {
        if !matches!(self.kind, Kind::Bool | Kind::Percent) || rules_name(variant, self) {
            if keys.is_empty() {
                return Ok(());
            }
            rules
                .pins
                .extend(keys.into_iter().map(|key| (key, variant.to_owned())));
            // A pinned variant that nobody else gets.
            return self.add(rules, variant, 0);
        }
        match self.boolean(variant)? {
            true => rules.allow.extend(keys),
            false => rules.deny.extend(keys),
        }
        Ok(())
    }

    fn fixed(&self, variant: &str) -> Result<FlagValue, String> {
        match self.kind {
            Kind::Percent if self.boolean(variant)? => Ok(Percent::HUNDRED.into()),
            Kind::Percent => Ok(Percent::ZERO.into()),
            kind => kind.read(self.variant(variant)?),
        }
    }

    fn divide(&self, rules: &mut Rules, parts: &[Value]) -> Result<FlagValue, String> {
        let mut weights = Vec::new();
        for part in parts {
            let part = part.as_array().map_or(&[][..], Vec::as_slice);
            let (Some(name), weight) = (part.first().and_then(Value::as_str), part.get(1)) else {
                return Err("has a `fractional` that is not by targetingKey alone".to_owned());
            };
            let weight = weight.map_or(Some(1), Value::as_u64);
            let weight = weight.and_then(|weight| u32::try_from(weight).ok());
            weights.push((name, weight.ok_or("has a weight that is no whole number")?));
        }
        if self.kind != Kind::Percent {
            for (name, weight) in weights {
                self.add(rules, name, weight)?;
            }
            return self.fixed(self.default);
        }
        let (mut on, mut sum, mut begun) = (0_u64, 0_u64, false);
        for (name, weight) in weights {
            sum += u64::from(weight);
            match self.boolean(name)? {
                // Who is on must be the first places, as in a share.
                true if begun => return Err("is on for more than one part".to_owned()),
                true => on += u64::from(weight),
                false => begun |= weight > 0,
            }
        }
        let points = on * 10_000;
        if sum == 0 || !points.is_multiple_of(sum) {
            return Err("is on for a share finer than 0.01 %".to_owned());
        }
        let points = u16::try_from(points / sum).map_err(|error| error.to_string())?;
        let share = Percent::from_basis_points(points).map_err(|error| error.to_string())?;
        Ok(share.into())
    }

    fn add(&self, rules: &mut Rules, name: &str, weight: u32) -> Result<(), String> {
        let known = rules
            .variants
            .iter_mut()
            .find(|variant| variant.name == name);
        match known {
            Some(variant) if variant.weight == 0 => {
                variant.weight = weight;
                // The order of the parts is that of `fractional`, which comes last.
                rules.variants.retain(|variant| variant.name != name);
            }
            Some(_) if weight == 0 => return Ok(()),
            Some(_) => return Err(format!("gives the variant `{name}` two parts")),
            None => {}
        }
        rules.variants.push(Variant {
            name: name.to_owned(),
            weight,
            value: self.variant(name)?.clone(),
        });
        Ok(())
    }

    fn variant(&self, name: &str) -> Result<&Value, String> {
        let variant = self.variants.get(name);
        variant.ok_or_else(|| format!("has no variant `{name}`"))
    }

    fn boolean(&self, name: &str) -> Result<bool, String> {
        let value = self.variant(name)?.as_bool();
        value.ok_or_else(|| format!("has the variant `{name}`, which is neither true nor false"))
    }
}

/// Whether a switch has this among the variants of its `fractional`: then a key is pinned to it, and
/// is not on a list.
fn rules_name(variant: &str, definition: &Definition<'_>) -> bool {
    fn within(value: &Value, variant: &str) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, value)| match name.as_str() {
                "fractional" => value.as_array().is_some_and(|parts| {
                    parts
                        .iter()
                        .any(|part| part.get(0).and_then(Value::as_str) == Some(variant))
                }),
                _ => within(value, variant),
            }),
            Value::Array(values) => values.iter().any(|value| within(value, variant)),
            _ => false,
        }
    }
    definition.kind == Kind::Bool
        && definition
            .targeting
            .is_some_and(|targeting| within(targeting, variant))
}

/// Whether an `if` before this one has decided about the key.
fn is_listed(rules: &Rules, key: &str) -> bool {
    rules.allow.contains(key) || rules.deny.contains(key) || rules.pins.contains_key(key)
}

fn keys(condition: &Value) -> Result<BTreeSet<String>, String> {
    let parts = condition.get("in").and_then(Value::as_array);
    let [what, keys] = parts.map_or(&[][..], Vec::as_slice) else {
        return Err(other(condition));
    };
    let is_key = what.get("var").and_then(Value::as_str) == Some("targetingKey");
    let keys = keys
        .as_array()
        .filter(|_| is_key)
        .ok_or_else(|| other(condition))?;
    let keys = keys.iter().map(|key| key.as_str().map(str::to_owned));
    keys.collect::<Option<_>>().ok_or_else(|| other(condition))
}

fn other(targeting: &Value) -> String {
    let shown = crate::error::shown(&targeting.to_string());
    format!("has targeting that cannot be imported: {shown}")
}
